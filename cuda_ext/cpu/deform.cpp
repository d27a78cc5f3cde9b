// Blendshapes. Copy this family when adding an op: it is the smallest.
#include "../include/deform.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

HD int64_t block_end(int64_t block, int64_t columns) {
  const int64_t end = (block + 1) * kDeformBlock;
  return end < columns ? end : columns;
}

HD int64_t blocks_of(int64_t columns) { return (columns + kDeformBlock - 1) / kDeformBlock; }

void deform(const Deform& args) {
  auto body = [&](int64_t block) {
    const int64_t begin = block * kDeformBlock, n = block_end(block, args.columns) - begin;
    float* __restrict out = args.out + begin;
    memcpy(out, args.base + begin, n * sizeof(float));
    int64_t k = 0;
    for (; k + 4 <= args.rows; k += 4) {
      const float* c = args.coefficients + k;
      const float c0 = c[0], c1 = c[1], c2 = c[2], c3 = c[3];
      const float* __restrict d0 = args.deltas + k * args.columns + begin;
      const float* __restrict d1 = d0 + args.columns;
      const float* __restrict d2 = d1 + args.columns;
      const float* __restrict d3 = d2 + args.columns;
      for (int64_t i = 0; i < n; ++i) out[i] += (c0 * d0[i] + c1 * d1[i]) + (c2 * d2[i] + c3 * d3[i]);
    }
    for (; k < args.rows; ++k) {
      const float c = args.coefficients[k];
      const float* __restrict d = args.deltas + k * args.columns + begin;
      for (int64_t i = 0; i < n; ++i) out[i] += c * d[i];
    }
  };
  parallel(blocks_of(args.columns), body);
}

HD float dot(const float* a, const float* b, int64_t n) {
  Vec sums[4] = {Vec{}, Vec{}, Vec{}, Vec{}};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    for (int j = 0; j < 4; ++j) {
      Vec x, y;
      memcpy(&x, a + i + j * kLanes, sizeof x);
      memcpy(&y, b + i + j * kLanes, sizeof y);
      sums[j] += x * y;
    }
  const Vec sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  float total = 0;
  for (int j = 0; j < kLanes; ++j) total += sum[j];
  for (; i < n; ++i) total += a[i] * b[i];
  return total;
}

void deform_coefficients(const DeformCoefficients& args) {
  auto body = [&](int64_t block) {
    const int64_t begin = block * kDeformBlock, n = block_end(block, args.columns) - begin;
    for (int64_t k = 0; k < args.rows; ++k)
      args.partial[block * args.rows + k] = dot(args.deltas + k * args.columns + begin, args.gradient + begin, n);
  };
  parallel(blocks_of(args.columns), body);
  for (int64_t k = 0; k < args.rows; ++k) {
    double sum = 0;
    for (int64_t block = 0; block < blocks_of(args.columns); ++block) sum += args.partial[block * args.rows + k];
    args.out[k] = static_cast<float>(sum);
  }
}

void deform_adam(const DeformAdam& args) {
  const AdamCorrection correction = adam_correction(args);
  const float beta1 = args.beta1, beta2 = args.beta2, eps = args.eps, factor = adam_factor(args, correction);
  auto body = [&](int64_t block) {
    const int64_t begin = block * kDeformBlock, n = block_end(block, args.columns) - begin;
    const float* __restrict gradient = args.gradient + begin;
    float rates[kDeformBlock];
    for (int64_t i = 0; i < n; ++i) rates[i] = (args.rate ? args.rate[begin + i] : args.rate_all) * factor;
    for (int64_t k = 0; k < args.rows; ++k) {
      const float c = args.coefficients[k];
      float* __restrict value = args.deltas + k * args.columns + begin;
      float* __restrict m1 = args.moment1 + k * args.columns + begin;
      float* __restrict m2 = args.moment2 + k * args.columns + begin;
      for (int64_t i = 0; i < n; ++i)
        adam_update(value[i], m1[i], m2[i], c * gradient[i], beta1, beta2, rates[i], correction.inv_root_second, eps);
    }
  };
  parallel(blocks_of(args.columns), body);
}

void deform_int8(const DeformInt8& args) {
  const int64_t scales_per_row = (args.columns + kColumns - 1) / kColumns;
  auto body = [&](int64_t block) {
    const int64_t begin = block * kDeformBlock, n = block_end(block, args.columns) - begin;
    for (int64_t at = 0; at < n; at += kColumns) {
      const int64_t width = n - at < kColumns ? n - at : kColumns;
      float sums[kColumns] = {};
      const int8_t* codes = args.codes + begin + at;
      const float* scale = args.scales + (begin + at) / kColumns;
      for (int64_t k = 0; k < args.rows; ++k, codes += args.columns, scale += scales_per_row) {
        const float c = args.coefficients[k] * *scale;
        if (c == 0) continue;  // of blocks in space that an expression does not move: four in ten
        if (width == kColumns)
          for (int64_t i = 0; i < kColumns; ++i) sums[i] += c * static_cast<float>(codes[i]);
        else
          for (int64_t i = 0; i < width; ++i) sums[i] += c * static_cast<float>(codes[i]);
      }
      for (int64_t i = 0; i < width; ++i) args.out[begin + at + i] = args.base[begin + at + i] + sums[i];
    }
  };
  parallel(blocks_of(args.columns), body);
}

}  // namespace ISA
}  // namespace avatar
