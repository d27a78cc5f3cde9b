// Small networks: a block of samples goes through all layers in the near caches. All three products (values, gradients
// of values, gradients of weights) are the same small kernel with registers along the columns; nothing is transposed but
// the weights, once a call.
#include "../include/mlp.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

constexpr int kSamples = 64;                     // of a block
constexpr int kRows = 4;                         // of a tile
constexpr int kVecs = kLanes == 16 ? 4 : 2;      // registers in a row of a tile

// A matrix read in any order: element (row, column) lies at row * row_step + column * column_step.
struct View {
  const float* data;
  int64_t row_step, column_step;
};

// out[row][column..] += sum over k of a(row, k) b[k][column..], for n rows and `vecs` registers of columns.
template <int n, int vecs>
HD void multiply_tile(const View& a, const float* b, int64_t b_step, int depth, float* out, int64_t out_step) {
  Vec sums[n][vecs];
  for (int r = 0; r < n; ++r)
    for (int v = 0; v < vecs; ++v) sums[r][v] = load(out + r * out_step + v * kLanes);
  for (int k = 0; k < depth; ++k) {
    Vec row[vecs];
    for (int v = 0; v < vecs; ++v) row[v] = load(b + k * b_step + v * kLanes);
    for (int r = 0; r < n; ++r) {
      const float value = a.data[r * a.row_step + k * a.column_step];
      for (int v = 0; v < vecs; ++v) sums[r][v] += value * row[v];
    }
  }
  for (int r = 0; r < n; ++r)
    for (int v = 0; v < vecs; ++v) store(out + r * out_step + v * kLanes, sums[r][v]);
}

template <int n>
HD void multiply_rows(const View& a, const float* b, int64_t b_step, int depth, float* out, int64_t out_step) {
  int64_t j = 0;
  for (; j + kVecs * kLanes <= out_step; j += kVecs * kLanes)
    multiply_tile<n, kVecs>(a, b + j, b_step, depth, out + j, out_step);
  for (; j < out_step; j += kLanes) multiply_tile<n, 1>(a, b + j, b_step, depth, out + j, out_step);
}

// out [rows, out_step] += a [rows, depth] b [depth, out_step]; out_step is a padded width.
static void multiply(View a, const float* b, int rows, int depth, float* out, int64_t out_step) {
  int r = 0;
  for (; r + kRows <= rows; r += kRows, a.data += kRows * a.row_step)
    multiply_rows<kRows>(a, b, out_step, depth, out + r * out_step, out_step);
  for (; r < rows; ++r, a.data += a.row_step) multiply_rows<1>(a, b, out_step, depth, out + r * out_step, out_step);
}

// Rows of a width to rows of its padded width, zero behind.
static void pad(const float* from, int width, int64_t rows, float* to) {
  const int step = padded(width);
  for (int64_t r = 0; r < rows; ++r) {
    memcpy(to + r * step, from + r * width, width * sizeof(float));
    memset(to + r * step + width, 0, (step - width) * sizeof(float));
  }
}

// The weights as the products read them: [in, padded out] forward, [out, padded in] backward.
struct Weights {
  Buffer buffer;
  float *forward[kMostLayers], *backward[kMostLayers];

  Weights(const float* weights, const MlpShape& shape) {
    size_t floats = 0;
    for (int l = 0; l < shape.layers; ++l)
      floats += padded(shape.widths[l]) * padded(shape.widths[l + 1]) * static_cast<size_t>(2);
    float* at = static_cast<float*>(reserve(buffer, floats * sizeof(float)));
    memset(at, 0, floats * sizeof(float));
    for (int l = 0; l < shape.layers; ++l) {
      const int in = shape.widths[l], out = shape.widths[l + 1], step = padded(out);
      forward[l] = at;
      backward[l] = at + static_cast<int64_t>(in) * step;
      at = backward[l] + static_cast<int64_t>(out) * padded(in);
      for (int j = 0; j < out; ++j)
        for (int k = 0; k < in; ++k) forward[l][k * step + j] = weights[j * in + k];
      pad(weights, in, out, backward[l]);
      weights += static_cast<int64_t>(in) * out;
    }
  }
  ~Weights() { release(buffer); }
};

// Values of a block after each layer, the input first; and two gradients, used in turn.
struct Work {
  Buffer buffer;
  float *values[kMostLayers + 1], *gradients[2];

  explicit Work(const MlpShape& shape) {
    constexpr size_t most = static_cast<size_t>(kSamples) * kMostWidth;
    float* at = static_cast<float*>(reserve(buffer, (kMostLayers + 3) * most * sizeof(float)));
    for (int l = 0; l <= shape.layers; ++l) values[l] = at + l * most;
    for (int i = 0; i < 2; ++i) gradients[i] = at + (kMostLayers + 1 + i) * most;
  }
  ~Work() { release(buffer); }
};

static void forward(const Weights& weights, const MlpShape& shape, int samples, Work& work) {
  for (int l = 0; l < shape.layers; ++l) {
    const int64_t step = padded(shape.widths[l + 1]);
    float* out = work.values[l + 1];
    memset(out, 0, samples * step * sizeof(float));
    multiply({work.values[l], padded(shape.widths[l]), 1}, weights.forward[l], samples, shape.widths[l], out, step);
    if (l + 1 == shape.layers) return;
    for (int64_t i = 0; i < samples * step; ++i) out[i] = out[i] > 0 ? out[i] : 0.0f;
  }
}

HD int64_t end_of(int64_t task, int64_t samples) {
  const int64_t end = (task + 1) * kMlpTask;
  return end < samples ? end : samples;
}

HD int block_of(int64_t from, int64_t end) { return static_cast<int>(end - from < kSamples ? end - from : kSamples); }

void mlp(const Mlp& args) {
  const MlpShape& shape = args.shape;
  const int in = shape.widths[0], out = shape.widths[shape.layers];
  const Weights weights(args.weights, shape);
  auto body = [&](int64_t task) {
    Work work(shape);
    const int64_t end = end_of(task, args.samples);
    for (int64_t from = task * kMlpTask; from < end; from += kSamples) {
      const int samples = block_of(from, end);
      pad(args.inputs + from * in, in, samples, work.values[0]);
      forward(weights, shape, samples, work);
      for (int s = 0; s < samples; ++s)
        memcpy(args.out + (from + s) * out, work.values[shape.layers] + s * padded(out), out * sizeof(float));
    }
  };
  parallel((args.samples + kMlpTask - 1) / kMlpTask, body);
}

static void backward_block(const MlpBackward& args, const Weights& weights, int64_t from, int samples, Work& work,
                           float* d_weights) {
  const MlpShape& shape = args.shape;
  const int in = shape.widths[0], out = shape.widths[shape.layers];
  pad(args.inputs + from * in, in, samples, work.values[0]);
  forward(weights, shape, samples, work);
  float *gradient = work.gradients[0], *before = work.gradients[1];
  pad(args.gradient + from * out, out, samples, gradient);
  d_weights += padded_weights_of(shape);
  for (int l = shape.layers - 1; l >= 0; --l) {
    const int columns = shape.widths[l], rows = shape.widths[l + 1];
    const int64_t step = padded(columns);
    d_weights -= rows * step;
    multiply({gradient, 1, padded(rows)}, work.values[l], rows, samples, d_weights, step);
    memset(before, 0, samples * step * sizeof(float));
    multiply({gradient, padded(rows), 1}, weights.backward[l], samples, rows, before, step);
    if (l > 0)
      for (int64_t i = 0; i < samples * step; ++i) before[i] = work.values[l][i] > 0 ? before[i] : 0.0f;
    float* other = gradient;
    gradient = before;
    before = other;
  }
  for (int s = 0; s < samples; ++s)
    memcpy(args.grad_inputs + (from + s) * in, gradient + s * padded(in), in * sizeof(float));
}

static void sum_partials(const MlpBackward& args, int64_t tasks) {
  const int64_t count = padded_weights_of(args.shape);
  float *to = args.grad_weights, *from = args.partial;
  for (int64_t task = 1; task < tasks; ++task)
    for (int64_t i = 0; i < count; ++i) from[i] += args.partial[task * count + i];
  for (int l = 0; l < args.shape.layers; ++l)
    for (int j = 0; j < args.shape.widths[l + 1]; ++j, to += args.shape.widths[l], from += padded(args.shape.widths[l])) {
      if (tasks > 0) memcpy(to, from, args.shape.widths[l] * sizeof(float));
      else memset(to, 0, args.shape.widths[l] * sizeof(float));
    }
}

void mlp_backward(const MlpBackward& args) {
  const int64_t count = padded_weights_of(args.shape), tasks = (args.samples + kMlpTask - 1) / kMlpTask;
  const Weights weights(args.weights, args.shape);
  auto body = [&](int64_t task) {
    Work work(args.shape);
    float* mine = args.partial + task * count;
    memset(mine, 0, count * sizeof(float));
    const int64_t end = end_of(task, args.samples);
    for (int64_t from = task * kMlpTask; from < end; from += kSamples)
      backward_block(args, weights, from, block_of(from, end), work, mine);
  };
  parallel(tasks, body);
  sum_partials(args, tasks);
}

}  // namespace ISA
}  // namespace avatar
