// Photometric error with its gradient in one go, and bytes for the screen.
#include "../include/image.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

constexpr int kRadius = kWindow / 2;
constexpr int kBand = 64;  // rows of one task; ten more are blurred twice
constexpr float kC1 = 1e-4f, kC2 = 9e-4f;
// exp(-(i/1.5)^2/2) over the sum of the eleven
constexpr float kGauss[kRadius + 1] = {0.26601172f, 0.21300553f, 0.10936069f, 0.036000773f, 0.0075987583f, 0.0010283801f};

HD int smaller(int a, int b) { return a < b ? a : b; }

// in has kRadius zeros on both sides; in[0] is the first pixel.
HD void blur_row(const float* __restrict in, float* __restrict out, int n) {
  for (int x = 0; x < n; ++x) {
    const float* p = in + x;
    out[x] = kGauss[0] * p[0] + kGauss[1] * (p[-1] + p[1]) + kGauss[2] * (p[-2] + p[2]) + kGauss[3] * (p[-3] + p[3]) +
             kGauss[4] * (p[-4] + p[4]) + kGauss[5] * (p[-5] + p[5]);
  }
}

HD void blur_column(const float* const rows[kWindow], float* __restrict out, int n) {
  const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3], *e = rows[4], *f = rows[5], *g = rows[6],
              *h = rows[7], *i = rows[8], *j = rows[9], *k = rows[10];
  for (int x = 0; x < n; ++x)
    out[x] = kGauss[0] * f[x] + kGauss[1] * (e[x] + g[x]) + kGauss[2] * (d[x] + h[x]) + kGauss[3] * (c[x] + i[x]) +
             kGauss[4] * (b[x] + j[x]) + kGauss[5] * (a[x] + k[x]);
}

// Rolling window: `maps` rows blurred along x for the last eleven picture rows, zero outside the picture.
struct Ring {
  float* data;
  int maps, stride;
  float* row(int y, int map) const { return data + (((y + 2 * kWindow) % kWindow) * maps + map) * stride; }
  void column(int y, int map, float* out, int n) const {
    const float* rows[kWindow];
    for (int t = 0; t < kWindow; ++t) rows[t] = row(y + t - kRadius, map);
    blur_column(rows, out, n);
  }
};

struct Scratch {
  Buffer buffer;
  ~Scratch() { release(buffer); }
};

struct Bands {
  int size, bands;
  explicit Bands(int s) : size(s), bands((s + kBand - 1) / kBand) {}
  int64_t tasks() const { return 3 * bands; }
};

HD float sign(float x) { return x > 0 ? 1.0f : (x < 0 ? -1.0f : 0.0f); }

// The blurred moments of one row -> 1 - SSIM summed with weights, and the derivatives by mean, E[x^2], E[xy].
HD double ssim_row(const float* __restrict mx, const float* __restrict my, const float* __restrict xx,
                   const float* __restrict yy, const float* __restrict xy, const float* __restrict weight,
                   float* __restrict d_mean, float* __restrict d_xx, float* __restrict d_xy, int n, float scale) {
  float sums[64] = {};
  for (int x0 = 0; x0 < n; x0 += 64) {
    const int count = smaller(64, n - x0);
    for (int j = 0; j < count; ++j) {
      const int x = x0 + j;
      const float m = mx[x], t = my[x];
      const float a1 = 2 * m * t + kC1, a2 = 2 * (xy[x] - m * t) + kC2;
      const float b1 = m * m + t * t + kC1, b2 = xx[x] - m * m + yy[x] - t * t + kC2;
      const float inv = 1 / (b1 * b2);
      const float ssim = a1 * a2 * inv;
      const float w = -scale * weight[x];
      sums[j] += weight[x] * (1 - ssim);
      // by E[xy]: 2 a1/(b1 b2); by E[x^2]: -ssim/b2; the mean also enters both variances.
      const float by_xy = 2 * a1 * inv, by_xx = -ssim * b1 * inv;
      d_mean[x] = w * (2 * t * a2 * inv - 2 * m * ssim * b2 * inv - t * by_xy - 2 * m * by_xx);
      d_xx[x] = w * by_xx;
      d_xy[x] = w * by_xy;
    }
  }
  double sum = 0;
  for (float s : sums) sum += s;
  return sum;
}

static void moments_band(const PhotoError& args, float scale, int64_t task) {
  const int size = args.size, bands = Bands(size).bands;
  const int channel = static_cast<int>(task / bands), from = static_cast<int>(task % bands) * kBand;
  const int to = smaller(size, from + kBand), stride = size + 2 * kRadius + 6;
  const int64_t plane = static_cast<int64_t>(size) * size;
  const float* image = args.image + channel * plane;
  const float* target = args.target + channel * plane;
  float* maps = args.workspace + 3 * channel * plane;
  Scratch scratch;
  const size_t floats = static_cast<size_t>(stride) * (5 * kWindow + 5 + 5);
  float* memory = static_cast<float*>(reserve(scratch.buffer, floats * sizeof(float)));
  memset(memory, 0, floats * sizeof(float));
  Ring ring{memory, 5, stride};
  float* padded = memory + 5 * kWindow * stride;
  float* blurred = padded + 5 * stride;
  for (int y = from - kRadius; y < to + kRadius; ++y) {
    if (y < 0 || y >= size) {
      for (int map = 0; map < 5; ++map) memset(ring.row(y, map), 0, size * sizeof(float));
    } else {
      const float* __restrict i = image + static_cast<int64_t>(y) * size;
      const float* __restrict t = target + static_cast<int64_t>(y) * size;
      float* __restrict p = padded + kRadius;
      for (int x = 0; x < size; ++x) {
        p[x] = i[x];
        p[stride + x] = t[x];
        p[2 * stride + x] = i[x] * i[x];
        p[3 * stride + x] = t[x] * t[x];
        p[4 * stride + x] = i[x] * t[x];
      }
      for (int map = 0; map < 5; ++map) blur_row(p + map * stride, ring.row(y, map), size);
    }
    const int out = y - kRadius;
    if (out < from) continue;
    for (int map = 0; map < 5; ++map) ring.column(out, map, blurred + map * stride, size);
    const int64_t at = static_cast<int64_t>(out) * size;
    args.sums[channel * size + out] +=
        args.ssim_weight * 0.5 *
        ssim_row(blurred, blurred + stride, blurred + 2 * stride, blurred + 3 * stride, blurred + 4 * stride,
                 args.weight + at, maps + at, maps + plane + at, maps + 2 * plane + at, size, scale);
  }
}

static void gradient_band(const PhotoError& args, float l1_scale, int64_t task) {
  const int size = args.size, bands = Bands(size).bands;
  const int channel = static_cast<int>(task / bands), from = static_cast<int>(task % bands) * kBand;
  const int to = smaller(size, from + kBand), stride = size + 2 * kRadius + 6;
  const int64_t plane = static_cast<int64_t>(size) * size;
  const float* maps = args.workspace + 3 * channel * plane;
  Scratch scratch;
  const size_t floats = static_cast<size_t>(stride) * (3 * kWindow + 1 + 3);
  float* memory = static_cast<float*>(reserve(scratch.buffer, floats * sizeof(float)));
  memset(memory, 0, floats * sizeof(float));
  Ring ring{memory, 3, stride};
  float* padded = memory + 3 * kWindow * stride;
  float* blurred = padded + stride;
  for (int y = from - kRadius; y < to + kRadius; ++y) {
    for (int map = 0; map < 3; ++map) {
      if (y < 0 || y >= size) {
        memset(ring.row(y, map), 0, size * sizeof(float));
      } else {
        memcpy(padded + kRadius, maps + map * plane + static_cast<int64_t>(y) * size, size * sizeof(float));
        blur_row(padded + kRadius, ring.row(y, map), size);
      }
    }
    const int row = y - kRadius;
    if (row < from) continue;
    for (int map = 0; map < 3; ++map) ring.column(row, map, blurred + map * stride, size);
    const int64_t at = static_cast<int64_t>(row) * size;
    const float* __restrict i = args.image + channel * plane + at;
    const float* __restrict t = args.target + channel * plane + at;
    const float* __restrict w = args.weight + at;
    float* __restrict g = args.gradient + channel * plane + at;
    const float *d_mean = blurred, *d_xx = blurred + stride, *d_xy = blurred + 2 * stride;
    for (int x = 0; x < size; ++x)
      g[x] = d_mean[x] + 2 * i[x] * d_xx[x] + t[x] * d_xy[x] + l1_scale * w[x] * sign(i[x] - t[x]);
  }
}

static double weight_sum(const PhotoError& args) {
  double total = 0;
  for (int y = 0; y < args.size; ++y) {
    float sums[16] = {};
    const float* w = args.weight + static_cast<int64_t>(y) * args.size;
    int x = 0;
    for (; x + 16 <= args.size; x += 16)
      for (int j = 0; j < 16; ++j) sums[j] += w[x + j];
    for (; x < args.size; ++x) sums[0] += w[x];
    for (float s : sums) total += s;
  }
  return total;
}

HD double absolute_row(const float* __restrict i, const float* __restrict t, const float* __restrict w, int n) {
  float sums[16] = {};
  int x = 0;
  for (; x + 16 <= n; x += 16)
    for (int j = 0; j < 16; ++j) sums[j] += w[x + j] * __builtin_fabsf(i[x + j] - t[x + j]);
  for (; x < n; ++x) sums[0] += w[x] * __builtin_fabsf(i[x] - t[x]);
  double total = 0;
  for (float s : sums) total += s;
  return total;
}

void photo_error(const PhotoError& args) {
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  const double weights = weight_sum(args);
  const double inv = weights > 0 ? 1.0 / (3.0 * weights) : 0.0;
  const float l1_scale = static_cast<float>((1.0 - args.ssim_weight) * inv);
  const float ssim_scale = static_cast<float>(0.5 * args.ssim_weight * inv);
  auto absolute = [&](int64_t row) {
    const int64_t at = (row / args.size) * plane + (row % args.size) * args.size;
    args.sums[row] = (1.0 - args.ssim_weight) * absolute_row(args.image + at, args.target + at,
                                                             args.weight + (row % args.size) * args.size, args.size);
  };
  auto moments = [&](int64_t task) { moments_band(args, ssim_scale, task); };
  auto gradient = [&](int64_t task) { gradient_band(args, l1_scale, task); };
  parallel(3 * static_cast<int64_t>(args.size), absolute);
  parallel(Bands(args.size).tasks(), moments);
  parallel(Bands(args.size).tasks(), gradient);
  double total = 0;
  for (int64_t row = 0; row < 3 * static_cast<int64_t>(args.size); ++row) total += args.sums[row];
  *args.error = total * inv;
}

void to_bytes(const ToBytes& args) {
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  auto body = [&](int64_t row) {
    const int64_t at = row * args.size;
    const float *r = args.rgb + at, *g = r + plane, *b = g + plane, *a = args.alpha + at;
    const uint8_t* __restrict under = args.background + 3 * at;
    uint8_t* __restrict out = args.bytes + 3 * at;
    for (int x = 0; x < args.size; ++x) {
      const float through = 1.0f - a[x];
      out[3 * x] = static_cast<uint8_t>(static_cast<int>(clamp(255 * r[x] + through * under[3 * x], 0, 255) + 0.5f));
      out[3 * x + 1] = static_cast<uint8_t>(static_cast<int>(clamp(255 * g[x] + through * under[3 * x + 1], 0, 255) + 0.5f));
      out[3 * x + 2] = static_cast<uint8_t>(static_cast<int>(clamp(255 * b[x] + through * under[3 * x + 2], 0, 255) + 0.5f));
    }
  };
  parallel(args.size, body);
}

}  // namespace ISA
}  // namespace avatar
