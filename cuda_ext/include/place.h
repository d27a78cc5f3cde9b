// From the head frame into the picture: the head moves rigidly, what hangs on the torso follows a similarity of the image.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int64_t kPlaceBlock = 1024;
constexpr int kPoseSums = 16;  // rotation 9, translation 3, quaternion of the rotation 4

struct PlaceInputs {
  const float* means;             // [N,3] cm, head frame
  const float* quaternions;       // [N,4]
  const float* rigidity;          // [N] 1 = head, 0 = torso
  const float* rotation;          // [3,3]
  const float* translation;       // [3] cm
  const float* rest_rotation;     // [3,3]
  const float* rest_translation;  // [3] cm
  const float* torso;             // [4] shift x, y px, log-scale, roll rad
  float focal;                    // px
  int64_t count;
};

struct Place {
  PlaceInputs in;
  float* means;        // [N,3] camera frame
  float* quaternions;  // [N,4]
};

struct PlaceBackward {
  PlaceInputs in;
  const float* grad_out_means;
  const float* grad_out_quaternions;
  float* partial;  // [ceil(N / 1024), 16]
  float* grad_means;
  float* grad_quaternions;
  float* grad_rigidity;
  float* grad_rotation;     // [3,3]
  float* grad_translation;  // [3]
};

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
  const float norm = __builtin_sqrtf(q[0] * q[0] + q[1] * q[1] + q[2] * q[2] + q[3] * q[3]);
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

}  // namespace avatar
