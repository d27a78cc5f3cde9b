// Rays of radiance fields on a GPU: a thread for each. hash_grid.cu is the rest.
#include "device.h"

namespace avatar {
namespace {

struct Nothing {
  DEVICE_MEMBER void operator()(int32_t, const float*, float) const {}
};

struct Fill {
  float *positions, *distances;
  DEVICE_MEMBER void operator()(int32_t kept, const float* position, float t) const {
    for (int d = 0; d < 3; ++d) positions[3 * kept + d] = position[d];
    distances[kept] = t;
  }
};

KERNEL count_kernel(March args) {
  const int64_t ray = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (ray < args.rays) args.counts[ray] = walk_ray(args, ray, Nothing{});
}

KERNEL march_kernel(March args) {
  const int64_t ray = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (ray >= args.rays) return;
  const int64_t start = args.starts[ray];
  walk_ray(args, ray, Fill{args.positions + 3 * start, args.distances + start});
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
