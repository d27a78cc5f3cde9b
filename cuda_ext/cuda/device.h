// How kernels are written and launched here. nvcc compiles them for GPUs; with AVATAR_EMULATE g++ compiles the same
// files for the CPU (emulate.h), so that the kernels themselves can be tested where there is no GPU.
//   KERNEL name(args)                    a kernel
//   KERNEL_FOR(threads) name             one of so many threads a block, whose registers let a processor be full of them
//   SHARED float values[256];            memory of one block
//   launch(stream, grid, threads, name, args...)
#pragma once
#include <stdexcept>
#include <string>

#include "kernels.h"

#if defined(AVATAR_EMULATE)
#include "emulate.h"
#else
#define KERNEL static __global__ void
// Threads of a processor: CUDA C++ Programming Guide, technical specifications by compute capability.
#if !defined(__CUDA_ARCH__)
#define RESIDENT_THREADS 2048
#elif __CUDA_ARCH__ == 750
#define RESIDENT_THREADS 1024
#elif __CUDA_ARCH__ == 860 || __CUDA_ARCH__ == 870 || __CUDA_ARCH__ == 890 || __CUDA_ARCH__ >= 1200
#define RESIDENT_THREADS 1536
#else
#define RESIDENT_THREADS 2048
#endif
#define KERNEL_FOR(threads) static __global__ void __launch_bounds__(threads, RESIDENT_THREADS / (threads))
#define DEVICE static __device__ __forceinline__
#define DEVICE_MEMBER __device__ __forceinline__
#define SHARED __shared__
#endif

namespace avatar {

constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kWarp = 32;
constexpr int kThreads = 256;

static inline unsigned blocks_for(int64_t count, int threads) {
  return static_cast<unsigned>((count + threads - 1) / threads);
}

#if !defined(AVATAR_EMULATE)
template <class... Parameters, class... Arguments>
static void launch(void* stream, dim3 grid, int threads, void (*kernel)(Parameters...), const Arguments&... arguments) {
  if (grid.x == 0) return;
  kernel<<<grid, threads, 0, static_cast<cudaStream_t>(stream)>>>(arguments...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw std::runtime_error(std::string("a GPU kernel did not start: ") + cudaGetErrorString(error));
}

static inline void zero(void* stream, void* data, size_t bytes) {
  const cudaError_t error = cudaMemsetAsync(data, 0, bytes, static_cast<cudaStream_t>(stream));
  if (error != cudaSuccess) throw std::runtime_error(std::string("GPU memory could not be set: ") + cudaGetErrorString(error));
}
#endif

// Adds two or four floats to memory aligned to their size, each atomically: one operation on sm_90 and later.
DEVICE void add_float2(float* at, float x, float y) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(at)), "f"(x), "f"(y) : "memory");
#else
  atomicAdd(at, x);
  atomicAdd(at + 1, y);
#endif
}

DEVICE void add_float4(float* at, float x, float y, float z, float w) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(at)), "f"(x), "f"(y),
               "f"(z), "f"(w)
               : "memory");
#else
  add_float2(at, x, y);
  add_float2(at + 2, z, w);
#endif
}

// Sum of the values of all lower threads of the block; total: of all threads. Ends with a barrier.
DEVICE uint32_t block_scan(uint32_t value, uint32_t warp_totals[kWarp], uint32_t& total) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  uint32_t sum = value;
  for (int step = 1; step < kWarp; step *= 2) {
    const uint32_t lower = __shfl_up_sync(kAllLanes, sum, step);
    if (lane >= step) sum += lower;
  }
  if (lane == kWarp - 1) warp_totals[warp] = sum;
  __syncthreads();
  uint32_t before = 0;
  total = 0;
  for (int w = 0; w < warps; ++w) {
    if (w < warp) before += warp_totals[w];
    total += warp_totals[w];
  }
  __syncthreads();
  return before + sum - value;
}

// Sum over the block in a fixed order, the same in every thread. Ends with a barrier.
template <class Real>
DEVICE Real block_sum(Real value, Real warp_totals[kWarp]) {
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  if (threadIdx.x % kWarp == 0) warp_totals[threadIdx.x / kWarp] = value;
  __syncthreads();
  Real total = 0;
  for (unsigned w = 0; w < blockDim.x / kWarp; ++w) total += warp_totals[w];
  __syncthreads();
  return total;
}

}  // namespace avatar
