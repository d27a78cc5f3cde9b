// Radiance fields on a GPU: a thread for each point and level, or for each ray. The tables' gradients are summed by
// atomics, so their last bits depend on the order of the threads; everything else is the same each time.
#include "device.h"

namespace avatar {
namespace {

template <int D>
KERNEL grid_kernel(HashGrid args) {
  const int64_t point = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (point < args.points) grid_features<D>(args, point, static_cast<int>(blockIdx.y));
}

template <int D>
KERNEL grid_tables_kernel(HashGridBackward args) {
  const HashGrid& in = args.in;
  const int64_t point = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (point >= in.points) return;
  const int level = static_cast<int>(blockIdx.y);
  const float* g = args.gradient + kFeatures * (point * in.levels + level);
  float* grad_table = args.grad_tables + kFeatures * in.entries * level;
  const Cell<D> cell = find_cell<D>(in.positions + D * point, in.resolutions[level], in.entries);
  for (int which = 0; which < 1 << D; ++which) {
    float weight;
    float* entry = grad_table + kFeatures * corner_entry<D>(cell, which, weight);
    atomicAdd(entry, weight * g[0]);
    atomicAdd(entry + 1, weight * g[1]);
  }
}

template <int D>
KERNEL grid_positions_kernel(HashGridBackward args) {
  const HashGrid& in = args.in;
  const int64_t point = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (point >= in.points) return;
  float d_position[D] = {};
  for (int level = 0; level < in.levels; ++level)
    grid_position_vjp<D>(in, point, level, args.gradient + kFeatures * (point * in.levels + level), d_position);
  for (int d = 0; d < D; ++d) args.grad_positions[D * point + d] = d_position[d];
}

template <int D>
void features(const HashGrid& args, void* stream) {
  launch(stream, dim3(blocks_for(args.points, kThreads), args.levels), kThreads, grid_kernel<D>, args);
}

template <int D>
void features_vjp(const HashGridBackward& args, void* stream) {
  const HashGrid& in = args.in;
  const unsigned blocks = blocks_for(in.points, kThreads);
  zero(stream, args.grad_tables, kFeatures * in.entries * in.levels * sizeof(float));
  launch(stream, dim3(blocks, in.levels), kThreads, grid_tables_kernel<D>, args);
  if (args.grad_positions != nullptr) launch(stream, dim3(blocks), kThreads, grid_positions_kernel<D>, args);
}

struct Nothing {
  DEVICE_MEMBER void operator()(int32_t, const float*, float) const {}
};

struct Fill {
  const March& args;
  int64_t ray, start;
  DEVICE_MEMBER void operator()(int32_t kept, const float* position, float t) const {
    const int64_t at = start + kept;
    for (int d = 0; d < 3; ++d) args.positions[3 * at + d] = position[d];
    args.distances[at] = t;
    args.ray_of[at] = static_cast<int32_t>(ray);
  }
};

KERNEL count_kernel(March args) {
  const int64_t ray = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (ray < args.rays) args.counts[ray] = walk_ray(args, ray, INT32_MAX, Nothing{});
}

KERNEL march_kernel(March args) {
  const int64_t ray = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (ray < args.rays) walk_ray(args, ray, args.counts[ray], Fill{args, ray, args.starts[ray]});
}

KERNEL composite_kernel(Composite args) {
  const int64_t ray = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (ray < args.rays) composite_ray(args, ray);
}

KERNEL composite_vjp_kernel(CompositeBackward args) {
  const int64_t ray = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (ray < args.in.rays) composite_ray_vjp(args, ray);
}

constexpr int kRayThreads = 64;

}  // namespace

void cuda::hash_grid(const HashGrid& args, void* stream) {
  if (args.dimensions == 2) return features<2>(args, stream);
  if (args.dimensions == 3) return features<3>(args, stream);
  features<4>(args, stream);
}

void cuda::hash_grid_backward(const HashGridBackward& args, void* stream) {
  if (args.in.dimensions == 2) return features_vjp<2>(args, stream);
  if (args.in.dimensions == 3) return features_vjp<3>(args, stream);
  features_vjp<4>(args, stream);
}

void cuda::march_count(const March& args, void* stream) {
  launch(stream, dim3(blocks_for(args.rays, kRayThreads)), kRayThreads, count_kernel, args);
}

void cuda::march_fill(const March& args, void* stream) {
  launch(stream, dim3(blocks_for(args.rays, kRayThreads)), kRayThreads, march_kernel, args);
}

void cuda::composite(const Composite& args, void* stream) {
  launch(stream, dim3(blocks_for(args.rays, kRayThreads)), kRayThreads, composite_kernel, args);
}

void cuda::composite_backward(const CompositeBackward& args, void* stream) {
  launch(stream, dim3(blocks_for(args.in.rays, kRayThreads)), kRayThreads, composite_vjp_kernel, args);
}

}  // namespace avatar
