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

constexpr int kStrip = 64;  // points whose corners are found together, in registers

// As find_cell and corner_entry, for many points: a corner's place in each dimension is one of two terms.
template <int D>
struct Strip {
  float part[D][kStrip];
  uint32_t term[D][kStrip];
  uint32_t stride[D], mask;
  bool dense;

  Strip(const HashGrid& in, int64_t first, int count, int level) {
    const int32_t resolution = in.resolutions[level];
    const Cell<D> any = find_cell<D>(in.positions + D * first, resolution, in.entries);
    constexpr uint32_t primes[4] = {1u, 2654435761u, 805459861u, 3674653429u};
    dense = any.dense;
    mask = any.mask;
    const float cells = static_cast<float>(resolution), last = static_cast<float>(resolution - 1);
    for (int d = 0; d < D; ++d) {
      stride[d] = !dense ? primes[d] : d == 0 ? 1u : stride[d - 1] * static_cast<uint32_t>(resolution + 1);
      for (int i = 0; i < count; ++i) {
        const float scaled = clamp(in.positions[D * (first + i) + d], 0.0f, 1.0f) * cells;
        const float lower = floorf(scaled < last ? scaled : last);
        part[d][i] = scaled - lower;
        term[d][i] = static_cast<uint32_t>(static_cast<int32_t>(lower)) * stride[d];
      }
      for (int i = count; i < kStrip; ++i) part[d][i] = term[d][i] = 0;
    }
  }

  void corner(int which, uint32_t* __restrict index, float* __restrict weight) const {
    for (int i = 0; i < kStrip; ++i) {
      uint32_t entry = 0;
      float w = 1.0f;
      for (int d = 0; d < D; ++d) {
        const bool upper = which >> d & 1;
        const uint32_t at = upper ? term[d][i] + stride[d] : term[d][i];
        entry = dense ? entry + at : entry ^ at;
        w *= upper ? part[d][i] : 1.0f - part[d][i];
      }
      index[i] = dense ? entry : entry & mask;
      weight[i] = w;
    }
  }
};

HD int smaller(int64_t a, int64_t b) { return static_cast<int>(a < b ? a : b); }

template <int D>
static void strip_features(const HashGrid& args, int64_t first, int count, int level) {
  const Strip<D> strip(args, first, count, level);
  const float* __restrict table = args.tables + kFeatures * args.entries * level;
  float a[kStrip] = {}, b[kStrip] = {}, weight[kStrip];
  uint32_t index[kStrip];
  for (int which = 0; which < 1 << D; ++which) {
    strip.corner(which, index, weight);
    for (int i = 0; i < kStrip; ++i) {
      a[i] += weight[i] * table[2 * index[i]];
      b[i] += weight[i] * table[2 * index[i] + 1];
    }
  }
  float* out = args.out + kFeatures * (first * args.levels + level);
  for (int i = 0; i < count; ++i, out += kFeatures * args.levels) {
    out[0] = a[i];
    out[1] = b[i];
  }
}

// Level after level within a block of points: one table and the block's output stay in the second cache.
template <int D>
static void features(const HashGrid& args) {
  auto body = [&](int64_t block) {
    const int64_t end = block_end(block, args.points);
    for (int level = 0; level < args.levels; ++level)
      for (int64_t p = block * kFieldBlock; p < end; p += kStrip)
        strip_features<D>(args, p, smaller(kStrip, end - p), level);
  };
  parallel(blocks_of(args.points), body);
}

template <int D>
static void add_strip(const HashGridBackward& args, int64_t first, int count, int level, float* grad_table) {
  const Strip<D> strip(args.in, first, count, level);
  float weight[kStrip];
  uint32_t index[kStrip];
  const float* gradient = args.gradient + kFeatures * (first * args.in.levels + level);
  const int64_t step = kFeatures * args.in.levels;
  for (int which = 0; which < 1 << D; ++which) {
    strip.corner(which, index, weight);
    for (int i = 0; i < count; ++i) {
      grad_table[2 * index[i]] += weight[i] * gradient[i * step];
      grad_table[2 * index[i] + 1] += weight[i] * gradient[i * step + 1];
    }
  }
}

template <int D>
static void features_vjp(const HashGridBackward& args) {
  const HashGrid& in = args.in;
  auto tables = [&](int64_t level) {
    float* grad_table = args.grad_tables + kFeatures * in.entries * level;
    memset(grad_table, 0, kFeatures * in.entries * sizeof(float));
    for (int64_t p = 0; p < in.points; p += kStrip)
      add_strip<D>(args, p, smaller(kStrip, in.points - p), static_cast<int>(level), grad_table);
  };
  auto positions = [&](int64_t block) {
    for (int64_t p = block * kFieldBlock; p < block_end(block, in.points); ++p) {
      float d_position[D] = {};
      for (int level = 0; level < in.levels; ++level) {
        const float* table = in.tables + kFeatures * in.entries * level;
        auto entry = [table](uint32_t index, float* features) {
          features[0] = table[kFeatures * index];
          features[1] = table[kFeatures * index + 1];
        };
        grid_position_vjp<D>(in, p, level, args.gradient + kFeatures * (p * in.levels + level), entry, d_position);
      }
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
  auto body = [&](int64_t ray) { args.counts[ray] = walk_ray(args, ray, INT32_MAX, Nothing{}); };
  for_rays(args.rays, body);
}

void march_fill(const March& args) {
  auto body = [&](int64_t ray) {
    auto keep = [&](int32_t kept, const float* position, float t) {
      const int64_t at = args.starts[ray] + kept;
      memcpy(args.positions + 3 * at, position, 3 * sizeof(float));
      args.distances[at] = t;
      args.ray_of[at] = static_cast<int32_t>(ray);
    };
    walk_ray(args, ray, args.counts[ray], keep);
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
