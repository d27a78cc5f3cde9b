// Outputs are made in tiles whose sums stay in registers while the weights stream by once: with few rows, reading the
// weights is much of the work, and bfloat16 halves it. Processors that multiply pairs of bfloat16 round the inputs, too,
// and need half the steps. One thread, as many sessions share the cores.
#include "../include/convolve.h"

#include "kernels.h"
#include "simd.h"

#if defined(__AVX512F__) && (defined(__GNUC__) || defined(__clang__))
#include <immintrin.h>
#define AVATAR_PAIRS __attribute__((target("avx512bf16")))
#endif

namespace avatar {
namespace ISA {

constexpr int kTile = kLanes == 16 ? 12 : 6;  // outputs of the largest tile: twice as many registers of sums
constexpr int kStep = kTile / 3;              // by which tiles are smaller
constexpr float kEpsilon = 1e-5f;             // of the variance

typedef uint32_t Words __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

// erf(x) to 1.5e-7 (Abramowitz and Stegun 7.1.26).
HD Vec erf_vec(Vec x) {
  const Vec size = x < 0.0f ? -x : x;
  const Vec t = 1.0f / (1.0f + 0.3275911f * size);
  Vec p = 1.061405429f * t - 1.453152027f;
  p = p * t + 1.421413741f;
  p = p * t - 0.284496736f;
  p = p * t + 0.254829592f;
  const Vec held = size < 9.0f ? size : splat_of(9.0f);  // beyond it the exponential is zero
  const Vec value = 1.0f - p * t * exp2_vec(held * held * -1.44269504f);
  return x < 0.0f ? -value : value;
}

HD Vec gelu_vec(Vec x) { return 0.5f * x * (1.0f + erf_vec(0.70710678f * x)); }

HD float sum_of(Vec value) {
  float sum = 0;
  for (int i = 0; i < kLanes; ++i) sum += value[i];
  return sum;
}

// A row [I] normalized to mean 0 and variance 1, scaled and shifted.
static void normalize(const float* from, const Convolve& args, float* to) {
  Vec sums = {}, squares = {};
  float sum = 0, square = 0;
  int64_t i = 0;
  for (; i + kLanes <= args.in; i += kLanes) sums += load(from + i);
  for (; i < args.in; ++i) sum += from[i];
  const float mean = (sum_of(sums) + sum) / args.in;
  for (i = 0; i + kLanes <= args.in; i += kLanes) squares += (load(from + i) - mean) * (load(from + i) - mean);
  for (; i < args.in; ++i) square += (from[i] - mean) * (from[i] - mean);
  const float factor = 1.0f / sqrtf((sum_of(squares) + square) / args.in + kEpsilon);
  for (i = 0; i < args.in; ++i) to[i] = (from[i] - mean) * factor * args.scale[i] + args.shift[i];
}

// Numbers of a row as they are multiplied: floats, or pairs of bfloat16, rounded to the nearest.
HD void convert(const float* from, int64_t count, float* to) { memcpy(to, from, count * sizeof(float)); }
HD void convert(const float* from, int64_t count, uint32_t* to) {
  uint16_t* halves = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = float_to_bits(from[i]);
    halves[i] = static_cast<uint16_t>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
  }
}

// What a tile of n outputs from `first` on is made of: [K width, n], so that a weight's factors lie together.
template <class Cell>
HD void gather(const Convolve& args, const Cell* rows, int64_t width, int64_t first, int n, Cell* to) {
  for (int r = 0; r < n; ++r) {
    const int64_t output = first + r, frame = output / args.outputs, at = output % args.outputs * args.stride - args.left;
    for (int k = 0; k < args.taps; ++k) {
      const int64_t row = at + static_cast<int64_t>(k) * args.dilation;
      const bool there = output < args.batch * args.outputs && row >= 0 && row < args.rows;
      const Cell* from = rows + (frame * args.rows + row) * width;
      Cell* column = to + k * width * n + r;
      for (int64_t i = 0; i < width; ++i) column[i * n] = there ? from[i] : Cell{};
    }
  }
}

template <int n>
HD void store_sums(const Vec (&sums)[n][2], float* to) {
  for (int r = 0; r < n; ++r)
    for (int v = 0; v < 2; ++v) store(to + r * kConvolveColumns + v * kLanes, sums[r][v]);
}

// n outputs by 32 columns, two registers of each output at a time.
template <int n>
static void multiply(const float* tile, const uint32_t* weights, int64_t pairs, const float* bias, float* to) {
  for (int j = 0; j < kConvolveColumns; j += 2 * kLanes) {
    Vec sums[n][2];
    for (int r = 0; r < n; ++r)
      for (int v = 0; v < 2; ++v) sums[r][v] = load(bias + j + v * kLanes);
    for (int64_t p = 0; p < pairs; ++p) {
      const Words* at = reinterpret_cast<const Words*>(weights + p * kConvolveColumns + j);
      const Bits one = at[0], two = at[1];
      for (int half = 0; half < 2; ++half) {
        const Vec left = reinterpret_cast<Vec>(half ? one & 0xffff0000u : one << 16);
        const Vec right = reinterpret_cast<Vec>(half ? two & 0xffff0000u : two << 16);
        for (int r = 0; r < n; ++r) {
          const float value = tile[(2 * p + half) * n + r];
          sums[r][0] += value * left;
          sums[r][1] += value * right;
        }
      }
    }
    store_sums<n>(sums, to + j);
  }
}

#if defined(AVATAR_PAIRS)
HD bool multiplies_pairs() { return __builtin_cpu_supports("avx512bf16"); }

template <int n>
AVATAR_PAIRS static void multiply(const uint32_t* tile, const uint32_t* weights, int64_t pairs, const float* bias, float* to) {
  __m512 sums[n][2];
  for (int r = 0; r < n; ++r)
    for (int v = 0; v < 2; ++v) sums[r][v] = _mm512_loadu_ps(bias + v * kLanes);
  for (int64_t p = 0; p < pairs; ++p) {
    const __m512bh one = (__m512bh)_mm512_loadu_si512(weights + p * kConvolveColumns);
    const __m512bh two = (__m512bh)_mm512_loadu_si512(weights + p * kConvolveColumns + kLanes);
    for (int r = 0; r < n; ++r) {
      const __m512bh value = (__m512bh)_mm512_set1_epi32(static_cast<int>(tile[p * n + r]));
      sums[r][0] = _mm512_dpbf16_ps(sums[r][0], one, value);
      sums[r][1] = _mm512_dpbf16_ps(sums[r][1], two, value);
    }
  }
  for (int r = 0; r < n; ++r)
    for (int v = 0; v < 2; ++v) _mm512_storeu_ps(to + r * kConvolveColumns + v * kLanes, sums[r][v]);
}
#endif

template <class Cell>
static void multiply_any(int n, const Cell* tile, const uint32_t* weights, int64_t pairs, const float* bias, float* to) {
  if (n == kStep) multiply<kStep>(tile, weights, pairs, bias, to);
  else if (n == 2 * kStep) multiply<2 * kStep>(tile, weights, pairs, bias, to);
  else multiply<kTile>(tile, weights, pairs, bias, to);
}

// The sums [n, 32] of a tile to where its outputs lie.
static void finish(const Convolve& args, float* sums, int64_t first, int n, int64_t column) {
  const int64_t left = args.out - column, width = left < kConvolveColumns ? left : kConvolveColumns;
  if (args.gelu)
    for (int i = 0; i < n * kConvolveColumns; i += kLanes) store(sums + i, gelu_vec(load(sums + i)));
  for (int r = 0; r < n && first + r < args.batch * args.outputs; ++r) {
    const int64_t at = (first + r) * args.out + column;
    for (int64_t j = 0; j < width; ++j)
      args.to[at + j] = sums[r * kConvolveColumns + j] + (args.added ? args.added[at + j] : 0.0f);
  }
}

// per_cell: numbers of an input that a cell holds.
template <class Cell, int per_cell>
static void convolve_by(const Convolve& args) {
  const int64_t outputs = args.batch * args.outputs, rows = args.batch * args.rows, pairs = (args.in + 1) / 2;
  const int64_t width = 2 * pairs / per_cell, depth = args.taps * width;
  const int64_t tiles = (outputs + kTile - 1) / kTile;
  const int n = static_cast<int>((outputs + tiles * kStep - 1) / (tiles * kStep)) * kStep;  // as equal as they can be
  Buffer buffer;
  const int64_t cells = rows * width + tiles * n * depth;
  Cell* converted = static_cast<Cell*>(reserve(buffer, (cells + n * kConvolveColumns + args.in) * sizeof(float)));
  Cell* gathered = converted + rows * width;
  float *sums = reinterpret_cast<float*>(converted + cells), *normalized = sums + n * kConvolveColumns;
  for (int64_t row = 0; row < rows; ++row) {
    const float* from = args.inputs + row * args.in;
    if (args.scale) normalize(from, args, normalized);
    converted[row * width + width - 1] = Cell{};  // its last number may be none of the row's
    convert(args.scale ? normalized : from, args.in, converted + row * width);
  }
  for (int64_t tile = 0; tile < tiles; ++tile)
    gather(args, converted, width, tile * n, n, gathered + tile * n * depth);
  for (int64_t column = 0; column < args.out; column += kConvolveColumns) {
    const uint32_t* weights = args.weights + column * args.taps * pairs;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      multiply_any(n, gathered + tile * n * depth, weights, args.taps * pairs, args.bias + column, sums);
      finish(args, sums, tile * n, n, column);
    }
  }
  release(buffer);
}

void convolve(const Convolve& args) {
  if (args.batch * args.outputs == 0) return;
#if defined(AVATAR_PAIRS)
  if (multiplies_pairs()) return convolve_by<uint32_t, 2>(args);
#endif
  convolve_by<float, 1>(args);
}

}  // namespace ISA
}  // namespace avatar
