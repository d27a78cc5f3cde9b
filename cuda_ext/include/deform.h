// Blendshapes: base + coefficients @ deltas, its VJP, and Adam on the deltas without writing their gradient.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int kColumns = 64;           // columns that share an int8 scale
constexpr int64_t kDeformBlock = 4096;  // columns of one task

struct Deform {
  const float* base;          // [M]
  const float* deltas;        // [K,M]
  const float* coefficients;  // [B,K]
  int64_t columns;
  int64_t rows;
  int64_t batch;
  float* out;                 // [B,M]
};

struct DeformCoefficients {
  const float* deltas;    // [K,M]
  const float* gradient;  // [B,M]
  int64_t columns;
  int64_t rows;
  int64_t batch;
  float* partial;         // [blocks,K], blocks = ceil(M / 4096); the CPU's
  float* out;             // [B,K]
};

struct DeformAdam {
  float* deltas;              // [K,M]
  float* moment1;             // [K,M]
  float* moment2;             // [K,M]
  const float* gradient;      // [M]
  const float* coefficients;  // [K]
  const float* rate;          // [M] or null
  float rate_all;             // used when rate is null
  const float* factor;        // [1] of all rates, or null
  float beta1, beta2, eps;
  int64_t step;               // from 1; 0: the factor brings the correction of bias
  int64_t columns;
  int64_t rows;
};

struct DeformInt8 {
  const float* base;          // [M], or [A,M] with `choice`
  const int8_t* codes;        // [K,M], or [A,K,M]
  const float* scales;        // [K,ceil(M/64)], or [A,K,ceil(M/64)]
  const float* coefficients;  // [B,K]
  const int32_t* choice;      // [B] which of A stacked blendshapes a frame takes; null: there is one for all
  int64_t columns;
  int64_t rows;
  int64_t batch;
  float* out;                 // [B,M]
};

template <class Args>
HD Args one_of_batch(Args args, int64_t frame) {
  args.coefficients += frame * args.rows;
  args.out += frame * args.columns;
  return args;
}

HD Deform frame_of(const Deform& args, int64_t frame) { return one_of_batch(args, frame); }

HD DeformInt8 frame_of(const DeformInt8& args, int64_t frame) {
  DeformInt8 one = one_of_batch(args, frame);
  if (args.choice == nullptr) return one;
  const int64_t chosen = args.choice[frame];
  one.base += chosen * args.columns;
  one.codes += chosen * args.rows * args.columns;
  one.scales += chosen * args.rows * ((args.columns + kColumns - 1) / kColumns);
  return one;
}

HD DeformCoefficients frame_of(const DeformCoefficients& args, int64_t frame) {
  DeformCoefficients one = args;
  one.gradient += frame * args.columns;
  one.out += frame * args.rows;
  return one;
}

// What the step number means for Adam's two running means.
struct AdamCorrection {
  float inv_first, inv_root_second;
};

static inline AdamCorrection adam_correction(const DeformAdam& args) {
  if (args.step == 0) return {1.0f, 1.0f};
  const double first = 1.0 - __builtin_pow(args.beta1, static_cast<double>(args.step));
  const double second = 1.0 - __builtin_pow(args.beta2, static_cast<double>(args.step));
  return {static_cast<float>(1.0 / first), static_cast<float>(1.0 / __builtin_sqrt(second))};
}

// What the gradient of a column is multiplied with, apart from the rate of the column.
HD float adam_factor(const DeformAdam& args, AdamCorrection correction) {
  return args.factor != nullptr ? *args.factor * correction.inv_first : correction.inv_first;
}

HD void adam_update(float& value, float& m1, float& m2, float gradient, float beta1, float beta2, float rate,
                    float inv_root_correction, float eps) {
  m1 = beta1 * m1 + (1 - beta1) * gradient;
  m2 = beta2 * m2 + (1 - beta2) * gradient * gradient;
  value -= rate * m1 / (sqrtf(m2) * inv_root_correction + eps);
}

}  // namespace avatar
