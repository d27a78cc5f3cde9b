// A register of floats in the widest form of the instruction set this unit is compiled for.
#pragma once
#include "../include/hd.h"
#include "pool.h"

namespace avatar {
namespace ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef uint32_t Bits __attribute__((vector_size(kLanes * 4)));

typedef float Anywhere __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

HD Vec load(const float* from) { return *reinterpret_cast<const Anywhere*>(from); }
HD void store(float* to, Vec value) { *reinterpret_cast<Anywhere*>(to) = value; }
HD Vec splat_of(float value) { return Vec{} + value; }
HD Vec iota() {
  Vec v;
  for (int i = 0; i < kLanes; ++i) v[i] = static_cast<float>(i);
  return v;
}

// 2^x, valid for -126 < x < 126; anything below must be masked off by the caller.
HD Vec exp2_vec(Vec x) {
  const Vec shifted = x + 12582912.0f;
  const Vec f = x - (shifted - 12582912.0f);
  Vec p = 1.339887440e-3f * f + 9.618437357e-3f;
  p = p * f + 5.550332548e-2f;
  p = p * f + 2.402264791e-1f;
  p = p * f + 6.931472028e-1f;
  p = p * f + 1.0f;
  return reinterpret_cast<Vec>(reinterpret_cast<Bits>(p) + (reinterpret_cast<Bits>(shifted) << 23));
}

template <class Body>
static void parallel(int64_t count, Body& body) {
  run_parallel(count, [](void* context, int64_t index) { (*static_cast<Body*>(context))(index); }, &body);
}

}  // namespace ISA
}  // namespace avatar
