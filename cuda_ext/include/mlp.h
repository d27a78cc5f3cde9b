// Small fully connected networks without biases, ReLU between the layers, as radiance fields use.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int kMostLayers = 6;
constexpr int kMostWidth = 128;
constexpr int64_t kMlpTask = 1024;  // samples whose weight gradients are summed together

struct MlpShape {
  int layers;                    // matrices
  int widths[kMostLayers + 1];   // input, hidden..., output
};

struct Mlp {
  const float* inputs;   // [P,I]
  const float* weights;  // flat, each layer [out,in]
  MlpShape shape;
  int64_t samples;
  float* out;            // [P,O]
};

struct MlpBackward {
  const float* inputs;
  const float* weights;
  MlpShape shape;
  int64_t samples;
  const float* gradient;  // [P,O]
  float* partial;         // [ceil(P / 1024), padded weights]
  float* grad_inputs;     // [P,I]
  float* grad_weights;    // flat
};

// The CPU pads rows to whole registers of the widest instruction set.
HD int padded(int width) { return (width + 15) / 16 * 16; }

HD int64_t padded_weights_of(const MlpShape& shape) {
  int64_t count = 0;
  for (int l = 0; l < shape.layers; ++l) count += static_cast<int64_t>(padded(shape.widths[l])) * shape.widths[l + 1];
  return count;
}

HD int64_t weights_of(const MlpShape& shape) {
  int64_t count = 0;
  for (int l = 0; l < shape.layers; ++l) count += static_cast<int64_t>(shape.widths[l]) * shape.widths[l + 1];
  return count;
}

}  // namespace avatar
