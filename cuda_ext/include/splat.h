// Splatting: what one kernel call gets, and the projection of one splat with its VJP (EWA, as in 3D Gaussian Splatting).
#pragma once
#include <cmath>

#include "hd.h"

namespace avatar {

constexpr int kTile = 16;
constexpr float kNear = 1.0f;          // cm
constexpr float kLowPass = 0.3f;       // px^2 added to the screen covariance, where nothing else is asked for
constexpr float kAlphaMax = 0.999f;
constexpr float kAlphaCut = 1.0f / 255.0f;
constexpr float kStop = 1e-4f;         // a tile ends when no pixel lets more than this through
constexpr int kSums = 12;              // floats of one (splat, tile) gradient slot, nine of them used
constexpr float kLog2E = 1.44269504f, kLn2 = 0.693147181f;
constexpr float kLog2Cut = -7.99435344f;  // log2(1/255)

struct Buffer {
  void* data = nullptr;
  size_t bytes = 0;
};

// One projected splat: one cache line.
struct alignas(64) Splat {
  float x, y;              // px
  float a, b, c;           // alpha = opacity * 2^-(a dx^2 + b dx dy + c dy^2)
  float log2_opacity;
  float red, green, blue;
  float opacity;
  float depth;             // cm
  float ry;                // px, half height of the area where alpha >= kAlphaCut
  uint32_t slot;           // first gradient slot
  uint16_t tile_x, tile_y, tiles_x, tiles_y;
};

// What forward leaves for backward on the CPU, one frame.
struct SplatContext {
  int64_t count = 0;
  int size = 0;
  int tiles = 0;           // a side
  uint32_t visible = 0;
  uint64_t pairs = 0;      // (splat, tile)
  Buffer splats, order, scratch, tile_start, tile_end, pair_splat, chunk_counts, sums;
};

struct SplatInputs {
  const float* means;           // [B,N,3] cm
  const float* quaternions;     // [B,N,4] wxyz
  const float* log_scales;      // [B,N,3]
  const float* opacity_logits;  // [B,N]
  const float* colors;          // [B,N,3]
  int64_t strides[5];           // floats from one frame to the next, in the order above; 0 shares one among all frames
  int64_t count;
  int batch;
  float focal;                  // px
  int size;                     // px
  const float* focals = nullptr;  // [B] px, where each frame has its own
  float whole = 0;              // px a side of the view that the picture is a part of; 0: it is the picture
  float left = 0, top = 0;      // px of the view where the picture begins
  float low_pass = kLowPass;    // px^2 added to the screen covariance
};

HD float side_of_view(const SplatInputs& in) { return in.whole > 0 ? in.whole : static_cast<float>(in.size); }

HD SplatInputs frame_of(const SplatInputs& in, int64_t frame) {
  SplatInputs one = in;
  one.means += frame * in.strides[0];
  one.quaternions += frame * in.strides[1];
  one.log_scales += frame * in.strides[2];
  one.opacity_logits += frame * in.strides[3];
  one.colors += frame * in.strides[4];
  if (in.focals != nullptr) one.focal = in.focals[frame];
  one.batch = 1;
  return one;
}

// One frame on the CPU.
struct SplatForward {
  SplatInputs in;
  SplatContext* context;
  float* rgb;    // [3,S,S] premultiplied
  float* alpha;  // [1,S,S]
};

struct SplatGradients {
  float* means;            // [B,N,3], and so on as the inputs, but dense
  float* quaternions;
  float* log_scales;
  float* opacity_logits;
  float* colors;
};

struct SplatBackward {
  SplatInputs in;
  SplatContext* context;
  const float* rgb;
  const float* alpha;
  const float* grad_rgb;
  const float* grad_alpha;
  SplatGradients out;
};

HD SplatGradients frame_of(const SplatGradients& out, int64_t count, int64_t frame) {
  const int64_t from = frame * count;
  return {out.means + 3 * from, out.quaternions + 4 * from, out.log_scales + 3 * from, out.opacity_logits + from,
          out.colors + 3 * from};
}

// Screen position, the 2x3 factor T with covariance T T' + low-pass, and what the VJP needs again.
template <class Real>
struct Projection {
  Real x, y, u, v, k, inv_z;
  Real m[3][3];  // rotation * scale
  Real t[2][3];
  Real cov_xx, cov_xy, cov_yy, inv_det;
  bool u_free, v_free;
};

template <class Real>
HD void rotation_matrix(const Real q[4], Real r[3][3]) {
  const Real w = q[0], x = q[1], y = q[2], z = q[3];
  r[0][0] = 1 - 2 * (y * y + z * z); r[0][1] = 2 * (x * y - w * z); r[0][2] = 2 * (x * z + w * y);
  r[1][0] = 2 * (x * y + w * z); r[1][1] = 1 - 2 * (x * x + z * z); r[1][2] = 2 * (y * z - w * x);
  r[2][0] = 2 * (x * z - w * y); r[2][1] = 2 * (y * z + w * x); r[2][2] = 1 - 2 * (x * x + y * y);
}

template <class Real>
HD void rotation_matrix_vjp(const Real q[4], const Real g[3][3], Real dq[4]) {
  const Real w = q[0], x = q[1], y = q[2], z = q[3];
  dq[0] = 2 * (x * (g[2][1] - g[1][2]) + y * (g[0][2] - g[2][0]) + z * (g[1][0] - g[0][1]));
  dq[1] = 2 * (y * (g[0][1] + g[1][0]) + z * (g[0][2] + g[2][0]) + w * (g[2][1] - g[1][2])) -
          4 * x * (g[1][1] + g[2][2]);
  dq[2] = 2 * (x * (g[0][1] + g[1][0]) + z * (g[1][2] + g[2][1]) + w * (g[0][2] - g[2][0])) -
          4 * y * (g[0][0] + g[2][2]);
  dq[3] = 2 * (x * (g[0][2] + g[2][0]) + y * (g[1][2] + g[2][1]) + w * (g[1][0] - g[0][1])) -
          4 * z * (g[0][0] + g[1][1]);
}

// mean: camera frame with z >= kNear; q: unit quaternion; scale: cm; side: px of the view, whose middle the axis
// meets; low: px^2 of the low-pass.
template <class Real>
HD void project(const Real mean[3], const Real q[4], const Real scale[3], Real focal, Real side, Real low,
                Projection<Real>& p) {
  p.inv_z = 1 / mean[2];
  p.k = focal * p.inv_z;
  const Real u = mean[0] * p.inv_z, v = mean[1] * p.inv_z;
  p.x = focal * u + Real(0.5) * side;
  p.y = focal * v + Real(0.5) * side;
  // Outside 1.3 fields of view the linearisation is useless; hold it at the border.
  const Real limit = Real(0.65) * side / focal;
  p.u_free = u > -limit && u < limit;
  p.v_free = v > -limit && v < limit;
  p.u = u < -limit ? -limit : (u > limit ? limit : u);
  p.v = v < -limit ? -limit : (v > limit ? limit : v);
  Real r[3][3];
  rotation_matrix(q, r);
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j) p.m[i][j] = r[i][j] * scale[j];
  for (int j = 0; j < 3; ++j) {
    p.t[0][j] = p.k * (p.m[0][j] - p.u * p.m[2][j]);
    p.t[1][j] = p.k * (p.m[1][j] - p.v * p.m[2][j]);
  }
  const Real* a = p.t[0];
  const Real* b = p.t[1];
  const Real xx = a[0] * a[0] + a[1] * a[1] + a[2] * a[2], yy = b[0] * b[0] + b[1] * b[1] + b[2] * b[2];
  p.cov_xy = a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
  p.cov_xx = xx + low;
  p.cov_yy = yy + low;
  // |a x b|^2 instead of xx yy - xy^2: no cancellation for needles.
  const Real cx = a[1] * b[2] - a[2] * b[1], cy = a[2] * b[0] - a[0] * b[2], cz = a[0] * b[1] - a[1] * b[0];
  p.inv_det = 1 / (cx * cx + cy * cy + cz * cz + low * (xx + yy) + low * low);
}

// (gx, gy): gradient of the screen position; c: gradient of the symmetric screen covariance (xx, xy of one entry, yy).
template <class Real>
HD void project_vjp(const Projection<Real>& p, const Real mean[3], const Real q[4], const Real scale[3], Real focal,
                    Real gx, Real gy, const Real c[3], Real d_mean[3], Real d_q[4], Real d_log_scale[3]) {
  Real d_t[2][3], d_m[3][3], d_u = 0, d_v = 0, d_k = 0;
  for (int j = 0; j < 3; ++j) {
    d_t[0][j] = 2 * (c[0] * p.t[0][j] + c[1] * p.t[1][j]);
    d_t[1][j] = 2 * (c[1] * p.t[0][j] + c[2] * p.t[1][j]);
    d_m[0][j] = p.k * d_t[0][j];
    d_m[1][j] = p.k * d_t[1][j];
    d_m[2][j] = -p.k * (p.u * d_t[0][j] + p.v * d_t[1][j]);
    d_u -= p.k * d_t[0][j] * p.m[2][j];
    d_v -= p.k * d_t[1][j] * p.m[2][j];
    d_k += d_t[0][j] * (p.m[0][j] - p.u * p.m[2][j]) + d_t[1][j] * (p.m[1][j] - p.v * p.m[2][j]);
  }
  d_u = (p.u_free ? d_u : 0) + focal * gx;
  d_v = (p.v_free ? d_v : 0) + focal * gy;
  d_mean[0] = d_u * p.inv_z;
  d_mean[1] = d_v * p.inv_z;
  d_mean[2] = -(d_u * mean[0] + d_v * mean[1]) * p.inv_z * p.inv_z - d_k * p.k * p.inv_z;
  Real d_r[3][3];
  for (int j = 0; j < 3; ++j) {
    d_log_scale[j] = d_m[0][j] * p.m[0][j] + d_m[1][j] * p.m[1][j] + d_m[2][j] * p.m[2][j];
    for (int i = 0; i < 3; ++i) d_r[i][j] = d_m[i][j] * scale[j];
  }
  rotation_matrix_vjp(q, d_r, d_q);
}

struct Activated {
  float q[4], scale[3], norm, opacity;
};

HD Activated activate(const SplatInputs& in, int64_t i) {
  Activated a;
  const float* q = in.quaternions + 4 * i;
  a.norm = sqrtf(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]) + 1e-12f;
  for (int j = 0; j < 4; ++j) a.q[j] = q[j] / a.norm;
  for (int j = 0; j < 3; ++j) a.scale[j] = exp_fast(in.log_scales[3 * i + j]);
  a.opacity = sigmoid(in.opacity_logits[i]);
  return a;
}

// Tiles between two screen positions: how many, and the first.
HD uint16_t tile_span(float low, float high, int size, uint16_t& first) {
  const float from = ceilf(clamp(low - 0.5f, 0.0f, 2e6f));
  const float to = floorf(clamp(high - 0.5f, -1.0f, static_cast<float>(size - 1)));
  if (to < from) return 0;
  first = static_cast<uint16_t>(static_cast<int>(from) / kTile);
  return static_cast<uint16_t>(static_cast<int>(to) / kTile - first + 1);
}

// Splat i of one frame as a record; one that cannot be seen has no tiles and nothing else.
HD void project_splat(const SplatInputs& in, int64_t i, Splat& s) {
  s.tiles_x = s.tiles_y = 0;
  const float* mean = in.means + 3 * i;
  if (mean[2] < kNear) return;
  const Activated a = activate(in, i);
  if (a.opacity <= kAlphaCut) return;
  Projection<float> p;
  project(mean, a.q, a.scale, in.focal, side_of_view(in), in.low_pass, p);
  p.x -= in.left;
  p.y -= in.top;
  s.log2_opacity = log2f(a.opacity);
  const float reach = 2 * kLn2 * (s.log2_opacity - kLog2Cut);
  const float rx = sqrtf(p.cov_xx * reach);
  s.ry = sqrtf(p.cov_yy * reach);
  if (not_finite(p.x) || not_finite(p.y) || not_finite(rx) || not_finite(s.ry)) return;
  s.tiles_x = tile_span(p.x - rx, p.x + rx, in.size, s.tile_x);
  s.tiles_y = tile_span(p.y - s.ry, p.y + s.ry, in.size, s.tile_y);
  s.x = p.x;
  s.y = p.y;
  s.a = 0.5f * kLog2E * p.cov_yy * p.inv_det;
  s.b = -kLog2E * p.cov_xy * p.inv_det;
  s.c = 0.5f * kLog2E * p.cov_xx * p.inv_det;
  s.red = in.colors[3 * i];
  s.green = in.colors[3 * i + 1];
  s.blue = in.colors[3 * i + 2];
  s.opacity = a.opacity;
  s.depth = mean[2];
}

HD void zero_gradients(const SplatGradients& out, int64_t i) {
  for (int j = 0; j < 3; ++j) out.means[3 * i + j] = out.log_scales[3 * i + j] = out.colors[3 * i + j] = 0.0f;
  for (int j = 0; j < 4; ++j) out.quaternions[4 * i + j] = 0.0f;
  out.opacity_logits[i] = 0.0f;
}

// From the nine sums of splat i over its tiles to the gradients of its parameters. The sums: colour (3), h, h dx, h dy, h dx^2, h dx dy, h dy^2; h = dL/d(natural log of alpha).
HD void splat_vjp(const SplatInputs& in, const float sum[9], int64_t i, const SplatGradients& out) {
  const Activated a = activate(in, i);
  const float* mean = in.means + 3 * i;
  Projection<float> p;
  project(mean, a.q, a.scale, in.focal, side_of_view(in), in.low_pass, p);
  const float vxx = p.cov_yy * p.inv_det, vxy = -p.cov_xy * p.inv_det, vyy = p.cov_xx * p.inv_det;
  const float gx = vxx * sum[4] + vxy * sum[5], gy = vxy * sum[4] + vyy * sum[5];
  // d(covariance) = V H V / 2 with H the second moments of h and V the inverse covariance.
  const float h00 = sum[6] * vxx + sum[7] * vxy, h01 = sum[6] * vxy + sum[7] * vyy;
  const float h10 = sum[7] * vxx + sum[8] * vxy, h11 = sum[7] * vxy + sum[8] * vyy;
  const float cov[3] = {0.5f * (vxx * h00 + vxy * h10), 0.5f * (vxx * h01 + vxy * h11), 0.5f * (vxy * h01 + vyy * h11)};
  float d_q[4];
  project_vjp(p, mean, a.q, a.scale, in.focal, gx, gy, cov, out.means + 3 * i, d_q, out.log_scales + 3 * i);
  const float along = d_q[0] * a.q[0] + d_q[1] * a.q[1] + d_q[2] * a.q[2] + d_q[3] * a.q[3];
  for (int j = 0; j < 4; ++j) out.quaternions[4 * i + j] = (d_q[j] - along * a.q[j]) / a.norm;
  for (int j = 0; j < 3; ++j) out.colors[3 * i + j] = sum[j];
  out.opacity_logits[i] = sum[3] * (1.0f - a.opacity);
}

}  // namespace avatar
