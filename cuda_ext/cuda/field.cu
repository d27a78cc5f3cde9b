// Rays of radiance fields on a GPU: a thread for each. hash_grid.cu is the rest.
#include "device.h"

namespace avatar {
namespace {

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
