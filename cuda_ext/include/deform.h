// Blendshapes: base + coefficients @ deltas, its VJP, and Adam on the deltas without writing their gradient.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int kColumns = 64;  // columns that share an int8 scale

struct Deform {
  const float* base;          // [M]
  const float* deltas;        // [K,M]
  const float* coefficients;  // [K]
  int64_t columns;
  int64_t rows;
  float* out;                 // [M]
};

struct DeformCoefficients {
  const float* deltas;    // [K,M]
  const float* gradient;  // [M]
  int64_t columns;
  int64_t rows;
  float* partial;         // [blocks,K], blocks = ceil(M / 4096)
  float* out;             // [K]
};

constexpr int64_t kDeformBlock = 4096;

struct DeformAdam {
  float* deltas;              // [K,M]
  float* moment1;             // [K,M]
  float* moment2;             // [K,M]
  const float* gradient;      // [M]
  const float* coefficients;  // [K]
  const float* rate;          // [M] or null
  float rate_all;             // used when rate is null
  float beta1, beta2, eps;
  int64_t step;               // from 1
  int64_t columns;
  int64_t rows;
};

struct DeformInt8 {
  const float* base;          // [M]
  const int8_t* codes;        // [K,M]
  const float* scales;        // [K,ceil(M/64)]
  const float* coefficients;  // [K]
  int64_t columns;
  int64_t rows;
  float* out;                 // [M]
};

HD void adam_update(float& value, float& m1, float& m2, float gradient, float beta1, float beta2, float rate,
                    float inv_root_correction, float eps) {
  m1 = beta1 * m1 + (1 - beta1) * gradient;
  m2 = beta2 * m2 + (1 - beta2) * gradient * gradient;
  value -= rate * m1 / (__builtin_sqrtf(m2) * inv_root_correction + eps);
}

}  // namespace avatar
