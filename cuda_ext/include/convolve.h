// Convolutions over time of a few rows, as live networks run them, with what stands around them done on the way:
// normalization of the rows before, GELU and a sum after.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int kConvolveColumns = 32;  // of a block of weights

struct Convolve {
  const float* inputs;      // [B,T,I]
  const float* scale;       // [I] of the rows once normalized (Ba et al. 2016, Layer Normalization), or null: as they are
  const float* shift;       // [I]
  const uint32_t* weights;  // [ceil(O / 32), K ceil(I / 2), 32], each two of bfloat16: of inputs 2 i (low) and 2 i + 1
  const float* bias;        // [ceil(O / 32) 32]
  const float* added;       // [B,N,O] added to the outputs, or null
  int64_t batch, rows, in, out, outputs;  // B, T, I, O, N
  int taps, dilation, stride, left;       // K; output n's tap k is row n stride + k dilation - left, zero outside
  bool gelu;
  float* to;                // [B,N,O]
};

}  // namespace avatar
