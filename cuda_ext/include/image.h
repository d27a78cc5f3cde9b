// Pictures: photometric error with its gradient, and bytes for the screen or the video encoder.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int kWindow = 11;  // SSIM: Gaussian window, sigma 1.5, zero padding
constexpr int kRadius = kWindow / 2;
// exp(-(i/1.5)^2/2) over the sum of the eleven, for i = 0..5; scalars, as device code cannot read a constexpr array
constexpr float kGauss0 = 0.26601172f, kGauss1 = 0.21300553f, kGauss2 = 0.10936069f, kGauss3 = 0.036000773f,
                kGauss4 = 0.0075987583f, kGauss5 = 0.0010283801f;
constexpr float kC1 = 1e-4f, kC2 = 9e-4f;
constexpr int kErrorBlocks = 128;  // partial sums of the weights on a GPU

struct PhotoMoments {
  const float* target;  // [3,S,S]
  int size;
  float* moments;       // [6,S,S]: the blurred target, then the blurred square of it
};

struct PhotoError {
  const float* image;    // [3,S,S]
  const float* target;   // [3,S,S]
  const float* weight;   // [1,S,S]
  const float* moments;  // [6,S,S] of the target, or null: made on the way
  int size;
  float ssim_weight;
  float* workspace;      // [9,S,S]
  double* sums;          // [3,S], at least kErrorBlocks
  float* gradient;       // [3,S,S]
  double* error;         // one value
};

struct ToBytes {
  const float* rgb;           // [B,3,S,S] premultiplied
  const float* alpha;         // [B,1,S,S]
  const uint8_t* background;  // [S,S,3], or [B,S,S,3]
  int64_t background_stride;  // bytes from one frame's to the next; 0 shares one among all frames
  int size;
  int64_t batch;
  uint8_t* bytes;             // [B,S,S,3]
};

struct ToNv12 {
  const float* rgb;           // [B,3,S,S] premultiplied, S even
  const float* alpha;         // [B,1,S,S]
  const uint8_t* background;  // [S,S,3], or [B,S,S,3]
  int64_t background_stride;  // as of ToBytes
  int size;
  int64_t batch;
  uint8_t* bytes;             // [B,3 S / 2,S]: luma rows, then rows of interleaved chroma
};

HD ToBytes frame_of(const ToBytes& args, int64_t frame) {
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  ToBytes one = args;
  one.rgb += 3 * plane * frame;
  one.alpha += plane * frame;
  one.background += args.background_stride * frame;
  one.bytes += 3 * plane * frame;
  return one;
}

HD ToNv12 frame_of(const ToNv12& args, int64_t frame) {
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  ToNv12 one = args;
  one.rgb += 3 * plane * frame;
  one.alpha += plane * frame;
  one.background += args.background_stride * frame;
  one.bytes += plane * 3 / 2 * frame;
  return one;
}

HD float sign(float x) { return x > 0 ? 1.0f : (x < 0 ? -1.0f : 0.0f); }

HD uint8_t to_byte(float value) { return static_cast<uint8_t>(static_cast<int>(clamp(value, 0, 255) + 0.5f)); }

// BT.709, limited range, from 0..255: what a decoder assumes of high-definition video.
HD float luma(float r, float g, float b) { return 0.2126f * r + 0.7152f * g + 0.0722f * b; }

HD float luma_level(float r, float g, float b) { return 16 + (219.0f / 255) * luma(r, g, b); }

struct Chroma {
  float blue, red;
};

// Of the mean colour of a 2x2 block.
HD Chroma chroma_levels(float r, float g, float b) {
  const float gray = luma(r, g, b);
  return {128 + (224.0f / 255 / 1.8556f) * (b - gray), 128 + (224.0f / 255 / 1.5748f) * (r - gray)};
}

// Mean of the 2x2 block at x of two rows of a plane.
HD float quarter(const float* rows, int64_t x, int64_t stride) {
  return 0.25f * (rows[x] + rows[x + 1] + rows[x + stride] + rows[x + stride + 1]);
}

// SSIM of one pixel and channel from the blurred image (m), target (t), squares (xx, tt) and product (xt), with its
// derivatives by m, xx and xt. Source: Wang et al. 2004.
struct Ssim {
  float value, by_mean, by_xx, by_xt;
};

HD Ssim ssim(float m, float t, float xx, float tt, float xt) {
  const float a1 = 2 * m * t + kC1, a2 = 2 * (xt - m * t) + kC2;
  const float b1 = m * m + t * t + kC1, b2 = xx - m * m + tt - t * t + kC2;
  const float inv = 1 / (b1 * b2);
  Ssim s;
  s.value = a1 * a2 * inv;
  // The mean also enters both variances and the covariance.
  s.by_xt = 2 * a1 * inv;
  s.by_xx = -s.value * b1 * inv;
  s.by_mean = 2 * t * a2 * inv - 2 * m * s.value * b2 * inv - t * s.by_xt - 2 * m * s.by_xx;
  return s;
}

}  // namespace avatar
