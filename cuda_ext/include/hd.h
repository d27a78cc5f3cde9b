// What every header and kernel shares: the host/device marker and float helpers without libm.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#define HD static __host__ __device__ __forceinline__
#else
// Internal linkage: a weak symbol compiled for AVX-512 could be picked by the linker for every machine.
#define HD static inline __attribute__((always_inline))
#endif

namespace avatar {

HD float clamp(float value, float low, float high) { return value < low ? low : (value > high ? high : value); }

HD float bits_to_float(uint32_t bits) {
  float value;
  memcpy(&value, &bits, 4);
  return value;
}

HD uint32_t float_to_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, 4);
  return bits;
}

// 2^x for x in [-126, 126], relative error 2e-7. The added constant rounds x to an integer in the low mantissa bits.
HD float exp2_fast(float x) {
#if defined(__CUDA_ARCH__)
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
#else
  x = clamp(x, -126.0f, 126.0f);
  const float shifted = x + 12582912.0f;
  const float f = x - (shifted - 12582912.0f);
  float p = 1.339887440e-3f;
  p = p * f + 9.618437357e-3f;
  p = p * f + 5.550332548e-2f;
  p = p * f + 2.402264791e-1f;
  p = p * f + 6.931472028e-1f;
  p = p * f + 1.0f;
  return bits_to_float(float_to_bits(p) + (float_to_bits(shifted) << 23));
#endif
}

HD float exp_fast(float x) { return exp2_fast(x * 1.44269504f); }

HD float sigmoid(float x) { return 1.0f / (1.0f + exp_fast(-x)); }

// Integer test: -ffinite-math-only lets the compiler drop isfinite().
HD bool not_finite(float value) { return (float_to_bits(value) & 0x7f800000u) == 0x7f800000u; }

}  // namespace avatar
