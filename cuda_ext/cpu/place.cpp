// Splats from the head frame into the camera frame, and back.
#include "../include/place.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

// Head and torso as affine maps with their quaternions, signs aligned so that the mixture takes the short way.
struct Frames {
  float head[9], head_shift[3], body[9], body_shift[3], head_turn[4], body_turn[4];
};

static Frames frames_of(const PlaceInputs& in) {
  Frames f;
  const float scale = exp_fast(in.torso[2]), roll = in.torso[3];
  const float cos = scale * __builtin_cosf(roll), sin = scale * __builtin_sinf(roll);
  const float linear[9] = {cos, -sin, in.torso[0] / in.focal, sin, cos, in.torso[1] / in.focal, 0, 0, 1};
  for (int i = 0; i < 3; ++i) {
    f.body_shift[i] = 0;
    for (int k = 0; k < 3; ++k) f.body_shift[i] += linear[3 * i + k] * in.rest_translation[k];
    f.head_shift[i] = in.translation[i];
    for (int j = 0; j < 3; ++j) {
      f.head[3 * i + j] = in.rotation[3 * i + j];
      f.body[3 * i + j] = 0;
      for (int k = 0; k < 3; ++k) f.body[3 * i + j] += linear[3 * i + k] * in.rest_rotation[3 * k + j];
    }
  }
  float rest[4];
  raw_quaternion(in.rotation, f.head_turn);
  normalize4(f.head_turn);
  raw_quaternion(in.rest_rotation, rest);
  normalize4(rest);
  const float rolled[4] = {__builtin_cosf(0.5f * roll), 0, 0, __builtin_sinf(0.5f * roll)};
  quaternion_product(rolled, rest, f.body_turn);
  float dot = 0;
  for (int i = 0; i < 4; ++i) dot += f.head_turn[i] * f.body_turn[i];
  if (dot < 0)
    for (float& v : f.body_turn) v = -v;
  return f;
}

HD void apply(const float m[9], const float shift[3], const float p[3], float out[3]) {
  for (int i = 0; i < 3; ++i) out[i] = m[3 * i] * p[0] + m[3 * i + 1] * p[1] + m[3 * i + 2] * p[2] + shift[i];
}

HD int64_t blocks_of(int64_t count) { return (count + kPlaceBlock - 1) / kPlaceBlock; }

HD int64_t block_end(int64_t block, int64_t count) {
  const int64_t end = (block + 1) * kPlaceBlock;
  return end < count ? end : count;
}

void place(const Place& args) {
  const PlaceInputs& in = args.in;
  const Frames f = frames_of(in);
  auto body = [&](int64_t block) {
    for (int64_t n = block * kPlaceBlock; n < block_end(block, in.count); ++n) {
      const float w = in.rigidity[n];
      float head[3], hung[3], turn[4];
      apply(f.head, f.head_shift, in.means + 3 * n, head);
      apply(f.body, f.body_shift, in.means + 3 * n, hung);
      for (int i = 0; i < 3; ++i) args.means[3 * n + i] = w * head[i] + (1 - w) * hung[i];
      for (int i = 0; i < 4; ++i) turn[i] = w * f.head_turn[i] + (1 - w) * f.body_turn[i];
      normalize4(turn);
      quaternion_product(turn, in.quaternions + 4 * n, args.quaternions + 4 * n);
    }
  };
  parallel(blocks_of(in.count), body);
}

static void place_vjp(const PlaceBackward& args, const Frames& f, int64_t n, float sums[kPoseSums]) {
  const PlaceInputs& in = args.in;
  const float w = in.rigidity[n];
  const float* p = in.means + 3 * n;
  const float* q = in.quaternions + 4 * n;
  const float* g = args.grad_out_means + 3 * n;
  const float* gq = args.grad_out_quaternions + 4 * n;
  float head[3], hung[3], d_w = 0;
  apply(f.head, f.head_shift, p, head);
  apply(f.body, f.body_shift, p, hung);
  for (int i = 0; i < 3; ++i) {
    d_w += g[i] * (head[i] - hung[i]);
    float d = 0;
    for (int k = 0; k < 3; ++k) d += (w * f.head[3 * k + i] + (1 - w) * f.body[3 * k + i]) * g[k];
    args.grad_means[3 * n + i] = d;
    for (int j = 0; j < 3; ++j) sums[3 * i + j] += w * g[i] * p[j];
    sums[9 + i] += w * g[i];
  }
  float turn[4], d_turn[4];
  for (int i = 0; i < 4; ++i) turn[i] = w * f.head_turn[i] + (1 - w) * f.body_turn[i];
  const float norm = normalize4(turn);
  const float q_back[4] = {q[0], -q[1], -q[2], -q[3]}, turn_back[4] = {turn[0], -turn[1], -turn[2], -turn[3]};
  quaternion_product(gq, q_back, d_turn);
  quaternion_product(turn_back, gq, args.grad_quaternions + 4 * n);
  normalize4_vjp(turn, norm, d_turn);
  for (int i = 0; i < 4; ++i) {
    d_w += d_turn[i] * (f.head_turn[i] - f.body_turn[i]);
    sums[12 + i] += w * d_turn[i];
  }
  args.grad_rigidity[n] = d_w;
}

void place_backward(const PlaceBackward& args) {
  const Frames f = frames_of(args.in);
  const int64_t blocks = blocks_of(args.in.count);
  auto body = [&](int64_t block) {
    float sums[kPoseSums] = {};
    for (int64_t n = block * kPlaceBlock; n < block_end(block, args.in.count); ++n) place_vjp(args, f, n, sums);
    memcpy(args.partial + block * kPoseSums, sums, sizeof sums);
  };
  parallel(blocks, body);
  double total[kPoseSums] = {};
  for (int64_t block = 0; block < blocks; ++block)
    for (int i = 0; i < kPoseSums; ++i) total[i] += args.partial[block * kPoseSums + i];
  float turn[4];
  for (int i = 0; i < 9; ++i) args.grad_rotation[i] = static_cast<float>(total[i]);
  for (int i = 0; i < 3; ++i) args.grad_translation[i] = static_cast<float>(total[9 + i]);
  for (int i = 0; i < 4; ++i) turn[i] = static_cast<float>(total[12 + i]);
  quaternion_vjp(args.in.rotation, turn, args.grad_rotation);
}

}  // namespace ISA
}  // namespace avatar
