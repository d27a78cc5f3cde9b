// A drawn frame over its plate beside the truth, a thread a pixel.
#include "../include/compose.h"

#include "device.h"

namespace avatar {
namespace {

DEVICE float pixel_weight(const Compose& args, int x, int y) {
  float weight = 1.0f;
  for (int blob = 0; blob < kBlobs; ++blob) {
    const float* across = args.blobs + 2 * blob * args.size;
    weight += args.weights[blob] * across[args.size + y] * across[x];
  }
  return weight;
}

// One pixel; sums: kComposeSums values of it.
DEVICE void compose_pixel(const Compose& args, const float gains[3], int x, int y, float sums[kComposeSums]) {
  const int64_t plane = static_cast<int64_t>(args.size) * args.size, at = static_cast<int64_t>(y) * args.size + x;
  const float alpha = args.alpha[at], matte = kByte * static_cast<float>(args.picture[3 * plane + at]);
  for (int c = 0; c < 3; ++c) {
    const int64_t i = c * plane + at;
    const float plain = args.rgb[i] + (1.0f - alpha) * args.plate[i];
    const float truth = kByte * static_cast<float>(args.picture[i]);
    args.image[i] = gains[c] * plain;
    args.truth[i] = truth;
    sums[c] = plain * truth;
    sums[3 + c] = plain * plain;
  }
  args.weight[at] = pixel_weight(args, x, y);
  sums[6] = alpha > matte ? alpha - matte : matte - alpha;
}

KERNEL compose_kernel(Compose args) {
  SHARED float totals[kWarp];
  SHARED float gains[3];
  if (threadIdx.x < 3) {
    const float *own = args.exposure + 4 * *args.frame, *all = args.exposure + 4 * args.frames;
    gains[threadIdx.x] = expf(gain_log(own, all, threadIdx.x));
    if (blockIdx.x == 0) args.gain[threadIdx.x] = gains[threadIdx.x];
  }
  __syncthreads();
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  float sums[kComposeSums] = {};
  if (at < static_cast<int64_t>(args.size) * args.size)
    compose_pixel(args, gains, static_cast<int>(at % args.size), static_cast<int>(at / args.size), sums);
  for (int k = 0; k < kComposeSums; ++k) {
    const float total = block_sum(sums[k], totals);
    if (threadIdx.x == 0) args.partial[static_cast<int64_t>(blockIdx.x) * kComposeSums + k] = total;
  }
}

KERNEL sums_kernel(Compose args, int64_t blocks) {
  SHARED double totals[kWarp];
  for (int k = 0; k < kComposeSums; ++k) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < blocks; i += blockDim.x) sum += args.partial[i * kComposeSums + k];
    sum = block_sum(sum, totals);
    if (threadIdx.x == 0) args.sums[k] = k == 6 ? sum / (static_cast<double>(args.size) * args.size) : sum;
  }
}

KERNEL backward_kernel(ComposeBackward args) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  if (at >= plane) return;
  const float difference = args.alpha[at] - kByte * static_cast<float>(args.picture[3 * plane + at]);
  float d_alpha = *args.grad_matte * sign_of(difference) / static_cast<float>(plane);
  for (int c = 0; c < 3; ++c) {
    const int64_t i = c * plane + at;
    const float d = args.gain[c] * args.grad_image[i];
    args.grad_rgb[i] = d;
    d_alpha -= args.plate[i] * d;
  }
  args.grad_alpha[at] = d_alpha;
}

struct NaturalLog {
  DEVICE_MEMBER float operator()(float value) const { return logf(value); }
};

KERNEL exposure_kernel(UpdateExposure args) {
  if (threadIdx.x == 0) update_gains(args, NaturalLog{});
}

}  // namespace

void cuda::compose(const Compose& args, void* stream) {
  const unsigned blocks = blocks_for(static_cast<int64_t>(args.size) * args.size, kThreads);
  launch(stream, dim3(blocks), kThreads, compose_kernel, args);
  launch(stream, dim3(1), kThreads, sums_kernel, args, static_cast<int64_t>(blocks));
}

void cuda::compose_backward(const ComposeBackward& args, void* stream) {
  const unsigned blocks = blocks_for(static_cast<int64_t>(args.size) * args.size, kThreads);
  launch(stream, dim3(blocks), kThreads, backward_kernel, args);
}

void cuda::update_exposure(const UpdateExposure& args, void* stream) {
  launch(stream, dim3(1), kWarp, exposure_kernel, args);
}

}  // namespace avatar
