// Hash grid, marching and compositing. Tables' gradients belong to one task a level, so no sum is shared.
#include "../include/field.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

HD int64_t blocks_of(int64_t points) { return (points + kFieldBlock - 1) / kFieldBlock; }

HD int64_t block_end(int64_t block, int64_t points) {
  const int64_t end = (block + 1) * kFieldBlock;
  return end < points ? end : points;
}

// Level after level within a block of points: one table and the block's output stay in the second cache.
template <int D>
static void features(const HashGrid& args) {
  auto body = [&](int64_t block) {
    for (int level = 0; level < args.levels; ++level)
      for (int64_t p = block * kFieldBlock; p < block_end(block, args.points); ++p) grid_features<D>(args, p, level);
  };
  parallel(blocks_of(args.points), body);
}

template <int D>
static void features_vjp(const HashGridBackward& args) {
  const HashGrid& in = args.in;
  auto tables = [&](int64_t level) {
    float* grad_table = args.grad_tables + kFeatures * in.entries * level;
    memset(grad_table, 0, kFeatures * in.entries * sizeof(float));
    for (int64_t p = 0; p < in.points; ++p) {
      const float* g = args.gradient + kFeatures * (p * in.levels + level);
      const Cell<D> cell = find_cell<D>(in.positions + D * p, in.resolutions[level], in.entries);
      for (int which = 0; which < 1 << D; ++which) {
        float weight;
        float* entry = grad_table + kFeatures * corner_entry<D>(cell, which, weight);
        entry[0] += weight * g[0];
        entry[1] += weight * g[1];
      }
    }
  };
  auto positions = [&](int64_t block) {
    for (int64_t p = block * kFieldBlock; p < block_end(block, in.points); ++p) {
      float d_position[D] = {};
      for (int level = 0; level < in.levels; ++level)
        grid_position_vjp<D>(in, p, level, args.gradient + kFeatures * (p * in.levels + level), d_position);
      memcpy(args.grad_positions + D * p, d_position, sizeof d_position);
    }
  };
  parallel(in.levels, tables);
  if (args.grad_positions != nullptr) parallel(blocks_of(in.points), positions);
}

void hash_grid(const HashGrid& args) {
  if (args.dimensions == 2) return features<2>(args);
  if (args.dimensions == 3) return features<3>(args);
  features<4>(args);
}

void hash_grid_backward(const HashGridBackward& args) {
  if (args.in.dimensions == 2) return features_vjp<2>(args);
  if (args.in.dimensions == 3) return features_vjp<3>(args);
  features_vjp<4>(args);
}

constexpr int64_t kRays = 64;  // of one task

template <class Body>
static void for_rays(int64_t rays, Body& body) {
  auto block = [&](int64_t index) {
    const int64_t end = (index + 1) * kRays < rays ? (index + 1) * kRays : rays;
    for (int64_t ray = index * kRays; ray < end; ++ray) body(ray);
  };
  parallel((rays + kRays - 1) / kRays, block);
}

struct Nothing {
  void operator()(int32_t, const float*, float) const {}
};

void march_count(const March& args) {
  auto body = [&](int64_t ray) { args.counts[ray] = walk_ray(args, ray, Nothing{}); };
  for_rays(args.rays, body);
}

void march_fill(const March& args) {
  auto body = [&](int64_t ray) {
    const int64_t start = args.starts[ray];
    auto keep = [&](int32_t kept, const float* position, float t) {
      memcpy(args.positions + 3 * (start + kept), position, 3 * sizeof(float));
      args.distances[start + kept] = t;
    };
    walk_ray(args, ray, keep);
  };
  for_rays(args.rays, body);
}

void composite(const Composite& args) {
  auto body = [&](int64_t ray) { composite_ray(args, ray); };
  for_rays(args.rays, body);
}

void composite_backward(const CompositeBackward& args) {
  auto body = [&](int64_t ray) { composite_ray_vjp(args, ray); };
  for_rays(args.in.rays, body);
}

}  // namespace ISA
}  // namespace avatar
