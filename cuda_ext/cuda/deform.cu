// Blendshapes on a GPU. Copy this family when adding an op: it is the smallest.
#include "device.h"

namespace avatar {
namespace {

constexpr int kFrames = 8;   // frames that share one reading of the deltas
constexpr int kRun = 4;      // columns of one thread
constexpr int kMostRows = 256;  // coefficients kept in shared memory at a time

// Coefficients of up to kFrames frames for rows from..from + kMostRows, zero beyond the batch.
DEVICE void load_coefficients(const float* coefficients, int64_t rows, int64_t from, int64_t first, int64_t batch,
                              float (*to)[kFrames]) {
  __syncthreads();
  for (int i = threadIdx.x; i < kMostRows * kFrames; i += blockDim.x) {
    const int64_t row = from + i / kFrames, frame = first + i % kFrames;
    to[i / kFrames][i % kFrames] = row < rows && frame < batch ? coefficients[frame * rows + row] : 0.0f;
  }
  __syncthreads();
}

DEVICE void store(const float* base, const float sums[kRun][kFrames], int64_t column, int64_t columns, int64_t first,
                  int64_t batch, float* out) {
  for (int j = 0; j < kRun && column + j < columns; ++j)
    for (int f = 0; f < kFrames && first + f < batch; ++f)
      out[(first + f) * columns + column + j] = base[column + j] + sums[j][f];
}

KERNEL deform_kernel(Deform args) {
  SHARED float coefficients[kMostRows][kFrames];
  const int64_t column = kRun * (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x);
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kFrames;
  float sums[kRun][kFrames] = {};
  for (int64_t from = 0; from < args.rows; from += kMostRows) {
    load_coefficients(args.coefficients, args.rows, from, first, args.batch, coefficients);
    const int64_t rows = args.rows - from < kMostRows ? args.rows - from : kMostRows;
    for (int64_t k = 0; k < rows; ++k)
      for (int j = 0; j < kRun && column + j < args.columns; ++j) {
        const float delta = args.deltas[(from + k) * args.columns + column + j];
        for (int f = 0; f < kFrames; ++f) sums[j][f] += coefficients[k][f] * delta;
      }
  }
  store(args.base, sums, column, args.columns, first, args.batch, args.out);
}

// One frame: a thread a column, whose loads do not wait for each other.
KERNEL deform_one_kernel(Deform args) {
  SHARED float coefficients[kMostRows];
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const bool inside = column < args.columns;
  float sum = 0;
  for (int64_t from = 0; from < args.rows; from += kMostRows) {
    const int rows = static_cast<int>(args.rows - from < kMostRows ? args.rows - from : kMostRows);
    __syncthreads();
    for (int k = threadIdx.x; k < rows; k += blockDim.x) coefficients[k] = args.coefficients[from + k];
    __syncthreads();
    if (!inside) continue;
    const float* deltas = args.deltas + from * args.columns + column;
    int k = 0;
    for (; k + kRun <= rows; k += kRun) {
      float values[kRun];
      for (int j = 0; j < kRun; ++j) values[j] = deltas[(k + j) * args.columns];
      for (int j = 0; j < kRun; ++j) sum += coefficients[k + j] * values[j];  // in the order of a batch's frames
    }
    for (; k < rows; ++k) sum += coefficients[k] * deltas[k * args.columns];
  }
  if (inside) args.out[column] = args.base[column] + sum;
}

// Four codes in one load where they lie so.
DEVICE void load_codes(const int8_t* codes, int64_t column, int64_t columns, int8_t to[kRun]) {
  if (columns % kRun == 0) {
    memcpy(to, __builtin_assume_aligned(codes + column, kRun), kRun);
  } else {
    for (int j = 0; j < kRun; ++j) to[j] = column + j < columns ? codes[column + j] : 0;
  }
}

KERNEL deform_int8_kernel(DeformInt8 args) {
  SHARED float coefficients[kMostRows][kFrames];
  const int64_t column = kRun * (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x);
  const int64_t first = static_cast<int64_t>(blockIdx.y) * kFrames;
  const int64_t blocks = (args.columns + kColumns - 1) / kColumns;
  float sums[kRun][kFrames] = {};
  for (int64_t from = 0; from < args.rows; from += kMostRows) {
    load_coefficients(args.coefficients, args.rows, from, first, args.batch, coefficients);
    if (column >= args.columns) continue;
    const int64_t rows = args.rows - from < kMostRows ? args.rows - from : kMostRows;
    for (int64_t k = 0; k < rows; ++k) {
      int8_t codes[kRun];
      load_codes(args.codes + (from + k) * args.columns, column, args.columns, codes);
      const float scale = args.scales[(from + k) * blocks + column / kColumns];
      for (int j = 0; j < kRun; ++j)
        for (int f = 0; f < kFrames; ++f) sums[j][f] += coefficients[k][f] * scale * static_cast<float>(codes[j]);
    }
  }
  store(args.base, sums, column, args.columns, first, args.batch, args.out);
}

// One frame a row of blocks: each reads the deltas of its own choice.
KERNEL chosen_int8_kernel(DeformInt8 batch) {
  SHARED float coefficients[kMostRows];
  const DeformInt8 args = frame_of(batch, blockIdx.y);
  const int64_t column = kRun * (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x);
  const int64_t blocks = (args.columns + kColumns - 1) / kColumns;
  float sums[kRun] = {};
  for (int64_t from = 0; from < args.rows; from += kMostRows) {
    const int64_t rows = args.rows - from < kMostRows ? args.rows - from : kMostRows;
    __syncthreads();
    for (int64_t k = threadIdx.x; k < rows; k += blockDim.x) coefficients[k] = args.coefficients[from + k];
    __syncthreads();
    if (column >= args.columns) continue;
    for (int64_t k = 0; k < rows; ++k) {
      int8_t codes[kRun];
      load_codes(args.codes + (from + k) * args.columns, column, args.columns, codes);
      const float factor = coefficients[k] * args.scales[(from + k) * blocks + column / kColumns];
      for (int j = 0; j < kRun; ++j) sums[j] += factor * static_cast<float>(codes[j]);
    }
  }
  for (int j = 0; j < kRun && column + j < args.columns; ++j) args.out[column + j] = args.base[column + j] + sums[j];
}

KERNEL coefficients_kernel(DeformCoefficients args) {
  SHARED float totals[kWarp];
  const float* deltas = args.deltas + static_cast<int64_t>(blockIdx.x) * args.columns;
  const float* gradient = args.gradient + static_cast<int64_t>(blockIdx.y) * args.columns;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < args.columns; i += blockDim.x) sum += deltas[i] * gradient[i];
  sum = block_sum(sum, totals);
  if (threadIdx.x == 0) args.out[blockIdx.y * args.rows + blockIdx.x] = sum;
}

KERNEL adam_kernel(DeformAdam args, AdamCorrection correction) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= args.columns) return;
  const float gradient = args.gradient[i];
  float* values = args.deltas + i;
  float *first = args.moment1 + i, *second = args.moment2 + i;
  const float rate = (args.rate != nullptr ? args.rate[i] : args.rate_all) * adam_factor(args, correction);
  // kRun rows are loaded before any is stored, so that they are on their way together.
  for (int64_t k = 0; k < args.rows; k += kRun) {
    float value[kRun], m1[kRun], m2[kRun];
    for (int j = 0; j < kRun; ++j) {
      if (k + j >= args.rows) break;
      const int64_t at = (k + j) * args.columns;
      value[j] = values[at];
      m1[j] = first[at];
      m2[j] = second[at];
    }
    for (int j = 0; j < kRun; ++j) {
      if (k + j >= args.rows) break;
      const int64_t at = (k + j) * args.columns;
      adam_update(value[j], m1[j], m2[j], args.coefficients[k + j] * gradient, args.beta1, args.beta2, rate,
                  correction.inv_root_second, args.eps);
      values[at] = value[j];
      first[at] = m1[j];
      second[at] = m2[j];
    }
  }
}

template <class Args>
dim3 grid_of(const Args& args) {
  return dim3(blocks_for(args.columns, kThreads * kRun), blocks_for(args.batch, kFrames));
}

}  // namespace

void cuda::deform(const Deform& args, void* stream) {
  if (args.batch == 1)
    launch(stream, dim3(blocks_for(args.columns, kThreads)), kThreads, deform_one_kernel, args);
  else
    launch(stream, grid_of(args), kThreads, deform_kernel, args);
}

void cuda::deform_int8(const DeformInt8& args, void* stream) {
  if (args.choice == nullptr) return launch(stream, grid_of(args), kThreads, deform_int8_kernel, args);
  const dim3 each(blocks_for(args.columns, kThreads * kRun), static_cast<unsigned>(args.batch));
  launch(stream, each, kThreads, chosen_int8_kernel, args);
}

void cuda::deform_coefficients(const DeformCoefficients& args, void* stream) {
  launch(stream, dim3(static_cast<unsigned>(args.rows), static_cast<unsigned>(args.batch)), kThreads,
         coefficients_kernel, args);
}

void cuda::deform_adam(const DeformAdam& args, void* stream) {
  launch(stream, dim3(blocks_for(args.columns, kThreads)), kThreads, adam_kernel, args, adam_correction(args));
}

}  // namespace avatar
