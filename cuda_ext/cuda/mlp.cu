// Small networks on a GPU: a thread a sample, a layer's weights in shared memory, read by all threads at once. The
// weights' gradient is a matrix product of what the way back leaves, and made by the caller.
#include "device.h"

namespace avatar {
namespace {

constexpr int kMlpThreads = 128;
constexpr int kStage = 64;  // inputs whose weights are in shared memory at a time

// The weights of outputs 0..rows from inputs first..first + count, [input][output].
DEVICE void load_weights(const float* weights, int64_t row_step, int64_t column_step, int rows, int first, int count,
                         float* to) {
  __syncthreads();
  for (int i = threadIdx.x; i < rows * count; i += blockDim.x) {
    const int row = i % rows, column = i / rows;
    to[column * rows + row] = weights[row * row_step + (first + column) * column_step];
  }
  __syncthreads();
}

// out = W in for this thread's sample.
DEVICE void multiply(const float* weights, int64_t row_step, int64_t column_step, int rows, int columns,
                     const float* in, float* out, float* stage) {
  for (int j = 0; j < rows; ++j) out[j] = 0.0f;
  for (int first = 0; first < columns; first += kStage) {
    const int count = columns - first < kStage ? columns - first : kStage;
    load_weights(weights, row_step, column_step, rows, first, count, stage);
    for (int k = 0; k < count; ++k)
      for (int j = 0; j < rows; ++j) out[j] += stage[k * rows + j] * in[first + k];
  }
}

KERNEL mlp_kernel(Mlp args) {
  SHARED float stage[kStage * kMostWidth];
  const int64_t sample = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const bool real = sample < args.samples;
  const MlpShape& shape = args.shape;
  float in[kMostWidth], out[kMostWidth];
  for (int k = 0; k < shape.widths[0]; ++k) in[k] = real ? args.inputs[sample * shape.widths[0] + k] : 0.0f;
  const float* weights = args.weights;
  int64_t at = sample * hidden_of(shape);
  for (int l = 0; l < shape.layers; ++l) {
    const int columns = shape.widths[l], rows = shape.widths[l + 1];
    multiply(weights, columns, 1, rows, columns, in, out, stage);
    weights += static_cast<int64_t>(rows) * columns;
    if (l + 1 == shape.layers) break;
    for (int j = 0; j < rows; ++j) {
      in[j] = out[j] > 0 ? out[j] : 0.0f;
      if (real && args.hidden != nullptr) args.hidden[at + j] = in[j];
    }
    at += rows;
  }
  const int width = shape.widths[shape.layers];
  for (int j = 0; real && j < width; ++j) args.out[sample * width + j] = out[j];
}

KERNEL mlp_vjp_kernel(MlpBackward args) {
  SHARED float stage[kStage * kMostWidth];
  const int64_t sample = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const bool real = sample < args.samples;
  const MlpShape& shape = args.shape;
  const int width = shape.widths[shape.layers];
  float gradient[kMostWidth], before[kMostWidth];
  for (int j = 0; j < width; ++j) gradient[j] = real ? args.gradient[sample * width + j] : 0.0f;
  const float* weights = args.weights + weights_of(shape);
  int64_t at = (sample + 1) * hidden_of(shape);
  for (int l = shape.layers - 1; l >= 0; --l) {
    const int columns = shape.widths[l], rows = shape.widths[l + 1];
    weights -= static_cast<int64_t>(rows) * columns;
    multiply(weights, 1, columns, columns, rows, gradient, before, stage);
    at -= l > 0 ? columns : 0;
    for (int k = 0; k < columns; ++k) {
      const bool open = l == 0 || !real || args.hidden[at + k] > 0;
      gradient[k] = open ? before[k] : 0.0f;
      if (real && l > 0) args.grad_hidden[at + k] = gradient[k];
      if (real && l == 0) args.grad_inputs[sample * columns + k] = gradient[k];
    }
  }
}

}  // namespace

void cuda::mlp(const Mlp& args, void* stream) {
  launch(stream, dim3(blocks_for(args.samples, kMlpThreads)), kMlpThreads, mlp_kernel, args);
}

void cuda::mlp_backward(const MlpBackward& args, void* stream) {
  launch(stream, dim3(blocks_for(args.samples, kMlpThreads)), kMlpThreads, mlp_vjp_kernel, args);
}

}  // namespace avatar
