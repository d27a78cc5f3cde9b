// Photometric error with its gradient in one go, and bytes for the screen.
#include "../include/image.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

constexpr int kBand = 64;  // rows of one task; ten more are blurred twice
constexpr float kGauss[kRadius + 1] = {kGauss0, kGauss1, kGauss2, kGauss3, kGauss4, kGauss5};

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

// The blurred moments of one row -> 1 - SSIM summed with weights, and the derivatives by mean, E[x^2], E[xy].
HD double ssim_row(const float* __restrict mx, const float* __restrict my, const float* __restrict xx,
                   const float* __restrict yy, const float* __restrict xy, const float* __restrict weight,
                   float* __restrict d_mean, float* __restrict d_xx, float* __restrict d_xy, int n, float scale) {
  float sums[64] = {};
  for (int x0 = 0; x0 < n; x0 += 64) {
    const int count = smaller(64, n - x0);
    for (int j = 0; j < count; ++j) {
      const int x = x0 + j;
      const Ssim s = ssim(mx[x], my[x], xx[x], yy[x], xy[x]);
      const float w = -scale * weight[x];
      sums[j] += weight[x] * (1 - s.value);
      d_mean[x] = w * s.by_mean;
      d_xx[x] = w * s.by_xx;
      d_xy[x] = w * s.by_xt;
    }
  }
  double sum = 0;
  for (float s : sums) sum += s;
  return sum;
}

// The rows a ring needs around one band of one channel, and what surrounds a row so that it can be blurred.
struct BandScratch {
  Scratch scratch;
  Ring ring;
  float *padded, *blurred;
  int stride;

  BandScratch(int size, int maps) : stride(size + 2 * kRadius + 6) {
    const size_t floats = static_cast<size_t>(stride) * (maps * kWindow + 2 * maps);
    float* memory = static_cast<float*>(reserve(scratch.buffer, floats * sizeof(float)));
    memset(memory, 0, floats * sizeof(float));
    ring = {memory, maps, stride};
    padded = memory + maps * kWindow * stride + kRadius;
    blurred = memory + (maps * kWindow + maps) * stride;
  }

  void blur_rows(int y, int size) {
    for (int map = 0; map < ring.maps; ++map) blur_row(padded + map * stride, ring.row(y, map), size);
  }

  void zero_rows(int y, int size) {
    for (int map = 0; map < ring.maps; ++map) memset(ring.row(y, map), 0, size * sizeof(float));
  }

  void blur_columns(int y, int size) {
    for (int map = 0; map < ring.maps; ++map) ring.column(y, map, blurred + map * stride, size);
  }
};

static void target_band(const PhotoMoments& args, int64_t task) {
  const int size = args.size, bands = Bands(size).bands;
  const int channel = static_cast<int>(task / bands), from = static_cast<int>(task % bands) * kBand;
  const int to = smaller(size, from + kBand);
  const int64_t plane = static_cast<int64_t>(size) * size;
  BandScratch band(size, 2);
  for (int y = from - kRadius; y < to + kRadius; ++y) {
    if (y < 0 || y >= size) {
      band.zero_rows(y, size);
    } else {
      const float* __restrict t = args.target + channel * plane + static_cast<int64_t>(y) * size;
      float* __restrict p = band.padded;
      for (int x = 0; x < size; ++x) {
        p[x] = t[x];
        p[band.stride + x] = t[x] * t[x];
      }
      band.blur_rows(y, size);
    }
    const int out = y - kRadius;
    if (out < from) continue;
    band.blur_columns(out, size);
    for (int map = 0; map < 2; ++map)
      memcpy(args.moments + (3 * map + channel) * plane + static_cast<int64_t>(out) * size,
             band.blurred + map * band.stride, size * sizeof(float));
  }
}

static void moments_band(const PhotoError& args, float scale, int64_t task) {
  const int size = args.size, bands = Bands(size).bands;
  const int channel = static_cast<int>(task / bands), from = static_cast<int>(task % bands) * kBand;
  const int to = smaller(size, from + kBand);
  const int64_t plane = static_cast<int64_t>(size) * size;
  float* maps = args.workspace + 3 * channel * plane;
  BandScratch band(size, args.moments ? 3 : 5);
  const int stride = band.stride;
  for (int y = from - kRadius; y < to + kRadius; ++y) {
    if (y < 0 || y >= size) {
      band.zero_rows(y, size);
    } else {
      const float* __restrict i = args.image + channel * plane + static_cast<int64_t>(y) * size;
      const float* __restrict t = args.target + channel * plane + static_cast<int64_t>(y) * size;
      float* __restrict p = band.padded;
      for (int x = 0; x < size; ++x) {
        p[x] = i[x];
        p[stride + x] = i[x] * i[x];
        p[2 * stride + x] = i[x] * t[x];
      }
      if (args.moments == nullptr)
        for (int x = 0; x < size; ++x) {
          p[3 * stride + x] = t[x];
          p[4 * stride + x] = t[x] * t[x];
        }
      band.blur_rows(y, size);
    }
    const int out = y - kRadius;
    if (out < from) continue;
    band.blur_columns(out, size);
    const int64_t at = static_cast<int64_t>(out) * size;
    const float* mean = args.moments ? args.moments + channel * plane + at : band.blurred + 3 * stride;
    const float* square = args.moments ? args.moments + (3 + channel) * plane + at : band.blurred + 4 * stride;
    args.sums[channel * size + out] +=
        args.ssim_weight * 0.5 *
        ssim_row(band.blurred, mean, band.blurred + stride, square, band.blurred + 2 * stride, args.weight + at,
                 maps + at, maps + plane + at, maps + 2 * plane + at, size, scale);
  }
}

static void gradient_band(const PhotoError& args, float l1_scale, int64_t task) {
  const int size = args.size, bands = Bands(size).bands;
  const int channel = static_cast<int>(task / bands), from = static_cast<int>(task % bands) * kBand;
  const int to = smaller(size, from + kBand);
  const int64_t plane = static_cast<int64_t>(size) * size;
  const float* maps = args.workspace + 3 * channel * plane;
  BandScratch band(size, 3);
  for (int y = from - kRadius; y < to + kRadius; ++y) {
    if (y < 0 || y >= size) {
      band.zero_rows(y, size);
    } else {
      for (int map = 0; map < 3; ++map)
        memcpy(band.padded + map * band.stride, maps + map * plane + static_cast<int64_t>(y) * size,
               size * sizeof(float));
      band.blur_rows(y, size);
    }
    const int row = y - kRadius;
    if (row < from) continue;
    band.blur_columns(row, size);
    const int64_t at = static_cast<int64_t>(row) * size;
    const float* __restrict i = args.image + channel * plane + at;
    const float* __restrict t = args.target + channel * plane + at;
    const float* __restrict w = args.weight + at;
    float* __restrict g = args.gradient + channel * plane + at;
    const float *d_mean = band.blurred, *d_xx = d_mean + band.stride, *d_xy = d_xx + band.stride;
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

void photo_moments(const PhotoMoments& args) {
  auto body = [&](int64_t task) { target_band(args, task); };
  parallel(Bands(args.size).tasks(), body);
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
      out[3 * x] = to_byte(255 * r[x] + through * under[3 * x]);
      out[3 * x + 1] = to_byte(255 * g[x] + through * under[3 * x + 1]);
      out[3 * x + 2] = to_byte(255 * b[x] + through * under[3 * x + 2]);
    }
  };
  parallel(args.size, body);
}

// 64 pixels of a row over the background, 0..255.
HD void mix_row(const ToNv12& args, int64_t at, int n, float* __restrict red, float* __restrict green,
                float* __restrict blue) {
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  const float *r = args.rgb + at, *g = r + plane, *b = g + plane, *a = args.alpha + at;
  const uint8_t* __restrict under = args.background + 3 * at;
  for (int x = 0; x < n; ++x) {
    const float through = 1.0f - a[x];
    red[x] = clamp(255 * r[x] + through * under[3 * x], 0, 255);
    green[x] = clamp(255 * g[x] + through * under[3 * x + 1], 0, 255);
    blue[x] = clamp(255 * b[x] + through * under[3 * x + 2], 0, 255);
  }
}

static void nv12_rows(const ToNv12& args, int64_t pair) {
  constexpr int kRun = 64;
  const int size = args.size;
  const int64_t first = 2 * pair * size;
  uint8_t* chroma = args.bytes + static_cast<int64_t>(size) * size + pair * size;
  float red[2 * kRun], green[2 * kRun], blue[2 * kRun];
  for (int from = 0; from < size; from += kRun) {
    const int n = smaller(kRun, size - from);
    for (int row = 0; row < 2; ++row)
      mix_row(args, first + row * size + from, n, red + row * kRun, green + row * kRun, blue + row * kRun);
    for (int row = 0; row < 2; ++row) {
      uint8_t* __restrict out = args.bytes + first + row * size + from;
      const float *r = red + row * kRun, *g = green + row * kRun, *b = blue + row * kRun;
      for (int x = 0; x < n; ++x) out[x] = to_byte(luma_level(r[x], g[x], b[x]));
    }
    uint8_t* __restrict uv = chroma + from;
    for (int x = 0; x < n; x += 2) {
      const Chroma c = chroma_levels(quarter(red, x, kRun), quarter(green, x, kRun), quarter(blue, x, kRun));
      uv[x] = to_byte(c.blue);
      uv[x + 1] = to_byte(c.red);
    }
  }
}

void to_nv12(const ToNv12& args) {
  auto body = [&](int64_t pair) { nv12_rows(args, pair); };
  parallel(args.size / 2, body);
}

}  // namespace ISA
}  // namespace avatar
