// Kernels on the CPU: the threads of a block are fibers that run until the next barrier, one block after the other.
// Slow, single-threaded, and for tests alone.
#pragma once
#include <functional>

#define KERNEL static void
#define KERNEL_FOR(threads) static void
#define DEVICE static inline
#define DEVICE_MEMBER
#define SHARED static

namespace avatar {

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

struct alignas(16) float4 {
  float x, y, z, w;
};

struct alignas(8) float2 {
  float x, y;
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }

extern dim3 threadIdx, blockIdx, blockDim, gridDim;

void emulate(dim3 grid, int threads, const std::function<void()>& thread);
void wait_for_block();
void wait_for_warp();
uint64_t exchange(uint64_t value, int source);  // what the lane `source` of the warp gave
bool all_of_block(bool value);
uint32_t ballot(bool value);  // a bit for each lane of the warp

inline void __syncthreads() { wait_for_block(); }
inline void __syncwarp() { wait_for_warp(); }
inline int __syncthreads_and(int value) { return all_of_block(value != 0); }
inline uint32_t __ballot_sync(unsigned, int value) { return ballot(value != 0); }

template <class T>
T exchange_as(T value, int source) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = exchange(bits, source);
  memcpy(&value, &bits, sizeof value);
  return value;
}

template <class T>
T __shfl_up_sync(unsigned, T value, int step) {
  const int lane = threadIdx.x % 32;
  return exchange_as(value, lane < step ? lane : lane - step);
}

inline int __ffs(int bits) { return __builtin_ffs(bits); }

template <class T>
T __ldg(const T* at) {
  return *at;
}

template <class T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return exchange_as(value, static_cast<int>(threadIdx.x % 32) ^ mask);
}

template <class T>
T atomicAdd(T* at, T value) {
  const T before = *at;
  *at += value;
  return before;
}

template <class... Parameters, class... Arguments>
static void launch(void*, dim3 grid, int threads, void (*kernel)(Parameters...), const Arguments&... arguments) {
  emulate(grid, threads, [&] { kernel(arguments...); });
}

inline void zero(void*, void* data, size_t bytes) { memset(data, 0, bytes); }

}  // namespace avatar
