// From the head frame into the picture: the head moves rigidly, what hangs on the torso follows a similarity of the image.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int64_t kPlaceBlock = 1024;
constexpr int kPoseSums = 16;  // rotation 9, translation 3, quaternion of the rotation 4

struct PlaceInputs {
  const float* means;             // [B,N,3] cm, head frame
  const float* quaternions;       // [N,4]; this and all below that is said of one frame may be [B,...]: see `own`
  const float* rigidity;          // [N] 1 = head, 0 = torso
  const float* rotation;          // [B,3,3]
  const float* translation;       // [B,3] cm
  const float* rest_rotation;     // [3,3]
  const float* rest_translation;  // [3] cm
  const float* torso;             // [B,4] shift x, y px, log-scale, roll rad
  const float* focals;            // [B] px, or null: `focal` is that of all frames
  float focal;                    // px
  int64_t count;
  int64_t batch;
  int64_t stride;                 // floats of means from one frame to the next
  int64_t own;                    // 1: quaternions, rigidity and rest are each frame's own; 0: shared among all
};

struct Place {
  PlaceInputs in;
  float* means;        // [B,N,3] camera frame
  float* quaternions;  // [B,N,4]
};

struct PlaceBackward {
  PlaceInputs in;
  const float* grad_out_means;        // [B,N,3]
  const float* grad_out_quaternions;  // [B,N,4]
  float* partial;           // [B, ceil(N / 1024), 16]
  float* grad_means;        // [B,N,3]
  float* grad_quaternions;  // [B,N,4]; frames are summed by the caller, as for the rigidity
  float* grad_rigidity;     // [B,N]
  float* grad_rotation;     // [B,3,3]
  float* grad_translation;  // [B,3]
};

HD PlaceInputs frame_of(const PlaceInputs& in, int64_t frame) {
  PlaceInputs one = in;
  one.means += frame * in.stride;
  one.rotation += 9 * frame;
  one.translation += 3 * frame;
  one.torso += 4 * frame;
  one.quaternions += in.own * 4 * in.count * frame;
  one.rigidity += in.own * in.count * frame;
  one.rest_rotation += in.own * 9 * frame;
  one.rest_translation += in.own * 3 * frame;
  if (in.focals != nullptr) one.focal = in.focals[frame];
  return one;
}

HD Place frame_of(const Place& args, int64_t frame) {
  return {frame_of(args.in, frame), args.means + 3 * frame * args.in.count, args.quaternions + 4 * frame * args.in.count};
}

HD int64_t place_blocks(int64_t count) { return (count + kPlaceBlock - 1) / kPlaceBlock; }

HD PlaceBackward frame_of(const PlaceBackward& args, int64_t frame) {
  const int64_t from = frame * args.in.count;
  PlaceBackward one = args;
  one.in = frame_of(args.in, frame);
  one.grad_out_means += 3 * from;
  one.grad_out_quaternions += 4 * from;
  one.partial += frame * place_blocks(args.in.count) * kPoseSums;
  one.grad_means += 3 * from;
  one.grad_quaternions += 4 * from;
  one.grad_rigidity += from;
  one.grad_rotation += 9 * frame;
  one.grad_translation += 3 * frame;
  return one;
}

HD void quaternion_product(const float a[4], const float b[4], float out[4]) {
  out[0] = a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3];
  out[1] = a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2];
  out[2] = a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1];
  out[3] = a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0];
}

// Four times (square of component `best`) and its products with the others, from a rotation matrix r[9].
HD int raw_quaternion(const float r[9], float raw[4]) {
  const float trace = r[0] + r[4] + r[8];
  const float squares[4] = {trace, r[0], r[4], r[8]};
  int best = 0;
  for (int i = 1; i < 4; ++i)
    if (squares[i] > squares[best]) best = i;
  const float wx = r[7] - r[5], wy = r[2] - r[6], wz = r[3] - r[1];
  const float xy = r[1] + r[3], xz = r[2] + r[6], yz = r[5] + r[7];
  const float table[4][4] = {{1 + trace, wx, wy, wz},
                             {wx, 1 + 2 * r[0] - trace, xy, xz},
                             {wy, xy, 1 + 2 * r[4] - trace, yz},
                             {wz, xz, yz, 1 + 2 * r[8] - trace}};
  for (int i = 0; i < 4; ++i) raw[i] = table[best][i];
  return best;
}

HD float normalize4(float q[4]) {
  const float norm = sqrtf(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
  for (int i = 0; i < 4; ++i) q[i] /= norm;
  return norm;
}

// unit: the normalized vector, norm: its length before. Turns the gradient of the unit vector into that of the raw one.
HD void normalize4_vjp(const float unit[4], float norm, float d[4]) {
  const float along = d[0] * unit[0] + d[1] * unit[1] + d[2] * unit[2] + d[3] * unit[3];
  for (int i = 0; i < 4; ++i) d[i] = (d[i] - along * unit[i]) / norm;
}

// Adds to d_r what a gradient of the unit quaternion of r means for r.
HD void quaternion_vjp(const float r[9], const float d_unit[4], float d_r[9]) {
  float q[4];
  const int best = raw_quaternion(r, q);
  const float norm = normalize4(q);
  float d[4] = {d_unit[0], d_unit[1], d_unit[2], d_unit[3]};
  normalize4_vjp(q, norm, d);
  // Entries (plus, minus or symmetric) behind each off-diagonal product, as in raw_quaternion's table.
  const int from[4][4] = {{0, 7, 2, 3}, {7, 0, 1, 2}, {2, 1, 0, 5}, {3, 2, 5, 0}};
  const int with[4][4] = {{0, 5, 6, 1}, {5, 0, 3, 6}, {6, 3, 0, 7}, {1, 6, 7, 0}};
  for (int i = 0; i < 4; ++i) {
    if (i == best) continue;
    const float sign = (i == 0 || best == 0) ? -1.0f : 1.0f;
    d_r[from[best][i]] += d[i];
    d_r[with[best][i]] += sign * d[i];
  }
  for (int j = 0; j < 3; ++j) d_r[4 * j] += (best == 0 || best == j + 1 ? 1.0f : -1.0f) * d[best];
}

// Head and torso as affine maps with their quaternions, signs aligned so that the mixture takes the short way.
struct Frames {
  float head[9], head_shift[3], body[9], body_shift[3], head_turn[4], body_turn[4];
};

HD Frames frames_of(const PlaceInputs& in) {
  Frames f;
  const float scale = exp_fast(in.torso[2]), roll = in.torso[3];
  const float cosine = scale * cosf(roll), sine = scale * sinf(roll);
  const float linear[9] = {cosine, -sine, in.torso[0] / in.focal, sine, cosine, in.torso[1] / in.focal, 0, 0, 1};
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
  const float rolled[4] = {cosf(0.5f * roll), 0, 0, sinf(0.5f * roll)};
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

// Splat n of one frame.
HD void place_splat(const Place& args, const Frames& f, int64_t n) {
  const PlaceInputs& in = args.in;
  const float w = in.rigidity[n];
  float head[3], hung[3], turn[4];
  apply(f.head, f.head_shift, in.means + 3 * n, head);
  apply(f.body, f.body_shift, in.means + 3 * n, hung);
  for (int i = 0; i < 3; ++i) args.means[3 * n + i] = w * head[i] + (1 - w) * hung[i];
  for (int i = 0; i < 4; ++i) turn[i] = w * f.head_turn[i] + (1 - w) * f.body_turn[i];
  normalize4(turn);
  quaternion_product(turn, in.quaternions + 4 * n, args.quaternions + 4 * n);
}

// Adds splat n of one frame to the sums of the pose: rotation, translation, quaternion of the rotation.
HD void place_vjp(const PlaceBackward& args, const Frames& f, int64_t n, float sums[kPoseSums]) {
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

// From the sums over all splats of one frame to the gradients of its pose.
HD void pose_vjp(const PlaceBackward& args, const float total[kPoseSums]) {
  for (int i = 0; i < 9; ++i) args.grad_rotation[i] = total[i];
  for (int i = 0; i < 3; ++i) args.grad_translation[i] = total[9 + i];
  quaternion_vjp(args.in.rotation, total + 12, args.grad_rotation);
}

}  // namespace avatar
