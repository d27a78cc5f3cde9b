// Small networks: a block of samples goes through all layers in L1. Values lie as [neuron][sample], so that one weight
// meets a register of samples.
#include "../include/mlp.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

constexpr int kSamples = 64;  // of a block
constexpr int kVecs = kSamples / kLanes;
constexpr int kRows = 4;      // neurons computed together
constexpr int kGroup = kVecs < 4 ? kVecs : 4;  // registers of samples computed together

struct alignas(64) Layer {
  Vec values[kMostWidth][kVecs];
};

// Two blocks' worth of everything; one for each task.
struct Work {
  Buffer buffer;
  Layer* layers;    // values after each layer, the input first
  Layer* gradient;  // two, used in turn
  Work() {
    void* memory = reserve(buffer, (kMostLayers + 3) * sizeof(Layer) + kMostWidth * kSamples * sizeof(float));
    layers = static_cast<Layer*>(memory);
    gradient = layers + kMostLayers + 1;
  }
  float* rows() const { return reinterpret_cast<float*>(gradient + 2); }
  ~Work() { release(buffer); }
};

HD float* numbers(Layer& layer, int row) { return reinterpret_cast<float*>(layer.values[row]); }

static void load(const float* from, int width, int64_t count, Layer& to) {
  for (int k = 0; k < width; ++k) {
    float* row = numbers(to, k);
    for (int64_t s = 0; s < count; ++s) row[s] = from[s * width + k];
    for (int64_t s = count; s < kSamples; ++s) row[s] = 0.0f;
  }
}

static void store(Layer& from, int width, int64_t count, float* to) {
  for (int k = 0; k < width; ++k) {
    const float* row = numbers(from, k);
    for (int64_t s = 0; s < count; ++s) to[s * width + k] = row[s];
  }
}

// out[j] = sum over k of weights[j * row_step + k * column_step] in[k], for `rows` neurons of `columns` inputs.
template <int n>
static void multiply_rows(const float* weights, int64_t row_step, int64_t column_step, int columns, const Layer& in,
                          Layer& out, int j) {
  for (int v = 0; v < kVecs; v += kGroup) {
    Vec sums[n][kGroup] = {};
    for (int k = 0; k < columns; ++k)
      for (int r = 0; r < n; ++r) {
        const float w = weights[(j + r) * row_step + k * column_step];
        for (int g = 0; g < kGroup; ++g) sums[r][g] += w * in.values[k][v + g];
      }
    for (int r = 0; r < n; ++r)
      for (int g = 0; g < kGroup; ++g) out.values[j + r][v + g] = sums[r][g];
  }
}

static void multiply(const float* weights, int64_t row_step, int64_t column_step, int rows, int columns,
                     const Layer& in, Layer& out) {
  int j = 0;
  for (; j + kRows <= rows; j += kRows) multiply_rows<kRows>(weights, row_step, column_step, columns, in, out, j);
  for (; j < rows; ++j) multiply_rows<1>(weights, row_step, column_step, columns, in, out, j);
}

static void rectify(Layer& layer, int width) {
  for (int k = 0; k < width; ++k)
    for (int v = 0; v < kVecs; ++v) layer.values[k][v] = layer.values[k][v] > 0 ? layer.values[k][v] : Vec{};
}

static void forward(const float* weights, const MlpShape& shape, Work& work) {
  for (int l = 0; l < shape.layers; ++l) {
    const int in = shape.widths[l], out = shape.widths[l + 1];
    multiply(weights, in, 1, out, in, work.layers[l], work.layers[l + 1]);
    if (l + 1 < shape.layers) rectify(work.layers[l + 1], out);
    weights += static_cast<int64_t>(in) * out;
  }
}

void mlp(const Mlp& args) {
  const MlpShape& shape = args.shape;
  const int in = shape.widths[0], out = shape.widths[shape.layers];
  auto body = [&](int64_t task) {
    Work work;
    const int64_t end = (task + 1) * kMlpTask < args.samples ? (task + 1) * kMlpTask : args.samples;
    for (int64_t from = task * kMlpTask; from < end; from += kSamples) {
      const int64_t count = end - from < kSamples ? end - from : kSamples;
      load(args.inputs + from * in, in, count, work.layers[0]);
      forward(args.weights, shape, work);
      store(work.layers[shape.layers], out, count, args.out + from * out);
    }
  };
  parallel((args.samples + kMlpTask - 1) / kMlpTask, body);
}

// Adds the outer products of gradients and inputs over the block's samples: d_weights[j,k] += sum of g[j] a[k].
static void add_outer(Layer& gradient, int rows, Layer& input, int columns, float* transposed, float* d_weights) {
  for (int k = 0; k < columns; ++k) {
    const float* row = numbers(input, k);
    for (int s = 0; s < kSamples; ++s) transposed[s * columns + k] = row[s];
  }
  for (int j = 0; j < rows; ++j) {
    const float* g = numbers(gradient, j);
    float* __restrict d = d_weights + static_cast<int64_t>(j) * columns;
    int k = 0;
    for (; k + 4 * kLanes <= columns; k += 4 * kLanes) {
      Vec sums[4];
      memcpy(sums, d + k, sizeof sums);
      for (int s = 0; s < kSamples; ++s) {
        Vec a[4];
        memcpy(a, transposed + s * columns + k, sizeof a);
        for (int v = 0; v < 4; ++v) sums[v] += g[s] * a[v];
      }
      memcpy(d + k, sums, sizeof sums);
    }
    for (; k + kLanes <= columns; k += kLanes) {
      Vec sum;
      memcpy(&sum, d + k, sizeof sum);
      for (int s = 0; s < kSamples; ++s) {
        Vec a;
        memcpy(&a, transposed + s * columns + k, sizeof a);
        sum += g[s] * a;
      }
      memcpy(d + k, &sum, sizeof sum);
    }
    for (; k < columns; ++k)
      for (int s = 0; s < kSamples; ++s) d[k] += g[s] * transposed[s * columns + k];
  }
}

static void backward_block(const MlpBackward& args, int64_t from, int64_t count, Work& work, float* d_weights) {
  const MlpShape& shape = args.shape;
  const int in = shape.widths[0], out = shape.widths[shape.layers];
  load(args.inputs + from * in, in, count, work.layers[0]);
  forward(args.weights, shape, work);
  load(args.gradient + from * out, out, count, work.gradient[shape.layers % 2]);
  int64_t at = weights_of(shape);
  for (int l = shape.layers - 1; l >= 0; --l) {
    const int columns = shape.widths[l], rows = shape.widths[l + 1];
    Layer &gradient = work.gradient[(l + 1) % 2], &before = work.gradient[l % 2];
    at -= static_cast<int64_t>(rows) * columns;
    add_outer(gradient, rows, work.layers[l], columns, work.rows(), d_weights + at);
    multiply(args.weights + at, 1, columns, columns, rows, gradient, before);
    if (l > 0)
      for (int k = 0; k < columns; ++k)
        for (int v = 0; v < kVecs; ++v)
          before.values[k][v] = work.layers[l].values[k][v] > 0 ? before.values[k][v] : Vec{};
  }
  store(work.gradient[0], in, count, args.grad_inputs + from * in);
}

void mlp_backward(const MlpBackward& args) {
  const int64_t weights = weights_of(args.shape), tasks = (args.samples + kMlpTask - 1) / kMlpTask;
  auto body = [&](int64_t task) {
    Work work;
    float* mine = args.partial + task * weights;
    memset(mine, 0, weights * sizeof(float));
    const int64_t end = (task + 1) * kMlpTask < args.samples ? (task + 1) * kMlpTask : args.samples;
    for (int64_t from = task * kMlpTask; from < end; from += kSamples)
      backward_block(args, from, end - from < kSamples ? end - from : kSamples, work, mine);
  };
  parallel(tasks, body);
  memset(args.grad_weights, 0, weights * sizeof(float));
  for (int64_t task = 0; task < tasks; ++task)
    for (int64_t i = 0; i < weights; ++i) args.grad_weights[i] += args.partial[task * weights + i];
}

}  // namespace ISA
}  // namespace avatar
