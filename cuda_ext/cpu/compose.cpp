// A drawn frame over its plate beside the truth, row by row.
#include "../include/compose.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

constexpr int kLanes16 = 16;  // sums that are kept apart, so that they are added in vectors

// The sum of products over a row, in a fixed order.
HD double products(const float* __restrict a, const float* __restrict b, int n) {
  float sums[kLanes16] = {};
  int x = 0;
  for (; x + kLanes16 <= n; x += kLanes16)
    for (int j = 0; j < kLanes16; ++j) sums[j] += a[x + j] * b[x + j];
  for (; x < n; ++x) sums[0] += a[x] * b[x];
  double total = 0;
  for (float sum : sums) total += sum;
  return total;
}

HD double absolute(const float* __restrict a, int n) {
  float sums[kLanes16] = {};
  int x = 0;
  for (; x + kLanes16 <= n; x += kLanes16)
    for (int j = 0; j < kLanes16; ++j) sums[j] += __builtin_fabsf(a[x + j]);
  for (; x < n; ++x) sums[0] += __builtin_fabsf(a[x]);
  double total = 0;
  for (float sum : sums) total += sum;
  return total;
}

// row: S floats that this row may write to.
HD void compose_channel(const Compose& args, float gain, int64_t i, const float* __restrict alpha,
                        float* __restrict row, double& with_truth, double& squared) {
  const float* __restrict rgb = args.rgb + i;
  const float* __restrict plate = args.plate + i;
  const uint8_t* __restrict picture = args.picture + i;
  float* __restrict image = args.image + i;
  float* __restrict truth = args.truth + i;
  for (int x = 0; x < args.size; ++x) {
    row[x] = rgb[x] + (1.0f - alpha[x]) * plate[x];
    image[x] = gain * row[x];
    truth[x] = kByte * static_cast<float>(picture[x]);
  }
  with_truth = products(row, truth, args.size);
  squared = products(row, row, args.size);
}

HD void weigh_row(const Compose& args, int y, float* __restrict weight) {
  for (int x = 0; x < args.size; ++x) weight[x] = 1.0f;
  for (int blob = 0; blob < kBlobs; ++blob) {
    const float* __restrict across = args.blobs + 2 * blob * args.size;
    const float down = args.weights[blob] * across[args.size + y];
    for (int x = 0; x < args.size; ++x) weight[x] += down * across[x];
  }
}

HD double matte_row(const float* __restrict alpha, const uint8_t* __restrict matte, float* __restrict row, int n) {
  for (int x = 0; x < n; ++x) row[x] = alpha[x] - kByte * static_cast<float>(matte[x]);
  return absolute(row, n);
}

void compose(const Compose& args) {
  const float *own = args.exposure + 4 * *args.frame, *all = args.exposure + 4 * args.frames;
  for (int c = 0; c < 3; ++c) args.gain[c] = __builtin_expf(gain_log(own, all, c));
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  auto body = [&](int64_t y) {
    const int64_t at = y * args.size;
    double* sums = args.partial + kComposeSums * y;
    float* row = args.weight + at;  // written last
    for (int c = 0; c < 3; ++c)
      compose_channel(args, args.gain[c], c * plane + at, args.alpha + at, row, sums[c], sums[3 + c]);
    sums[6] = matte_row(args.alpha + at, args.picture + 3 * plane + at, row, args.size);
    weigh_row(args, static_cast<int>(y), row);
  };
  parallel(args.size, body);
  for (int k = 0; k < kComposeSums; ++k) {
    double total = 0;
    for (int64_t y = 0; y < args.size; ++y) total += args.partial[y * kComposeSums + k];
    args.sums[k] = k == 6 && plane > 0 ? total / static_cast<double>(plane) : total;
  }
}

void compose_backward(const ComposeBackward& args) {
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  const float matte_share = plane > 0 ? *args.grad_matte / static_cast<float>(plane) : 0.0f;
  auto body = [&](int64_t y) {
    const int64_t at = y * args.size;
    const float* __restrict alpha = args.alpha + at;
    const uint8_t* __restrict matte = args.picture + 3 * plane + at;
    float* __restrict d_alpha = args.grad_alpha + at;
    for (int x = 0; x < args.size; ++x) d_alpha[x] = matte_share * sign_of(alpha[x] - kByte * static_cast<float>(matte[x]));
    for (int c = 0; c < 3; ++c) {
      const float gain = args.gain[c];
      const float* __restrict plate = args.plate + c * plane + at;
      const float* __restrict d_image = args.grad_image + c * plane + at;
      float* __restrict d_rgb = args.grad_rgb + c * plane + at;
      for (int x = 0; x < args.size; ++x) {
        d_rgb[x] = gain * d_image[x];
        d_alpha[x] -= plate[x] * d_rgb[x];
      }
    }
  };
  parallel(args.size, body);
}

void update_exposure(const UpdateExposure& args) {
  update_gains(args, [](float value) { return __builtin_logf(value); });
}

}  // namespace ISA
}  // namespace avatar
