// The hash grid on a GPU: a thread for each point and level. The tables' gradients are summed by atomics, so their last
// bits depend on the order of the threads; everything else is the same each time.
#include "device.h"

namespace avatar {
namespace {

constexpr int kForwardLevels = 4, kBackwardLevels = 16;  // of a group: the fastest of 1, 4 and 16 on an H200

DEVICE float2 read_entry(const HashGrid& in, int level, uint32_t index) {
  return __ldg(reinterpret_cast<const float2*>(in.tables) + in.entries * level + index);
}

// The two corners number `which` of the other dimensions, lower and upper in x. They are neighbours in an aligned pair
// half of the time, in hashed levels too (the first prime is 1).
struct Edge {
  uint32_t lower, upper;
  float weight;  // of both, but for x
  DEVICE_MEMBER bool is_pair() const { return (lower ^ upper) == 1u; }
};

template <int D>
DEVICE Edge find_edge(const Cell<D>& cell, int which) {
  Edge edge{0, 0, 1.0f};
  for (int d = 1; d < D; ++d) {
    const uint32_t upper = which >> (d - 1) & 1, at = cell.term[d] + (upper ? cell.stride[d] : 0u);
    edge.weight *= upper ? cell.part[d] : 1.0f - cell.part[d];
    edge.lower = cell.dense ? edge.lower + at : edge.lower ^ at;
  }
  if (cell.dense) {
    edge.lower += cell.term[0];
    edge.upper = edge.lower + 1;
    return edge;
  }
  edge.upper = (edge.lower ^ (cell.term[0] + 1)) & cell.mask;
  edge.lower = (edge.lower ^ cell.term[0]) & cell.mask;
  return edge;
}

// A block's threads are G levels of kThreads / G points; blocks of one G levels come one after the other, so that the
// caches hold their tables.
template <int G>
DEVICE bool find_work(const HashGrid& in, int64_t& point, int& level) {
  point = static_cast<int64_t>(blockIdx.x) * (kThreads / G) + threadIdx.x / G;
  level = static_cast<int>(blockIdx.y * G + threadIdx.x % G);
  return point < in.points && level < in.levels;
}

template <int D>
KERNEL grid_kernel(HashGrid args) {
  int64_t point;
  int level;
  if (!find_work<kForwardLevels>(args, point, level)) return;
  const Cell<D> cell = find_cell<D>(args.positions + D * point, args.resolutions[level], args.entries);
  const float up = cell.part[0], low = 1.0f - up;
  float2 sum = make_float2(0.0f, 0.0f);
  for (int which = 0; which < 1 << (D - 1); ++which) {
    const Edge edge = find_edge<D>(cell, which);
    const float2 lower = read_entry(args, level, edge.lower), upper = read_entry(args, level, edge.upper);
    sum.x += edge.weight * (low * lower.x + up * upper.x);
    sum.y += edge.weight * (low * lower.y + up * upper.y);
  }
  reinterpret_cast<float2*>(args.out)[point * args.levels + level] = sum;
}

DEVICE void add_edge(float* grad_table, const Edge& edge, const float2& lower, const float2& upper) {
  float* a = grad_table + kFeatures * edge.lower;
  float* b = grad_table + kFeatures * edge.upper;
  if (edge.is_pair()) {
    const bool second = edge.lower & 1u;
    const float2 x = second ? upper : lower, y = second ? lower : upper;
    add_float4(second ? b : a, x.x, x.y, y.x, y.y);
  } else {
    add_float2(a, lower.x, lower.y);
    add_float2(b, upper.x, upper.y);
  }
}

// Neighbouring points, which often lie in one cell, add to different copies of the gradient.
template <int D>
KERNEL grid_tables_kernel(HashGridBackward args) {
  const HashGrid& in = args.in;
  int64_t point;
  int level;
  if (!find_work<kBackwardLevels>(in, point, level)) return;
  const float2 g = __ldg(reinterpret_cast<const float2*>(args.gradient) + point * in.levels + level);
  if (g.x == 0.0f && g.y == 0.0f) return;  // behind what is opaque
  const int64_t copy = point & (args.copies - 1);
  float* grad_table = args.grad_tables + kFeatures * in.entries * (copy * in.levels + level);
  const Cell<D> cell = find_cell<D>(in.positions + D * point, in.resolutions[level], in.entries);
  const float up = cell.part[0], low = 1.0f - up;
  for (int which = 0; which < 1 << (D - 1); ++which) {
    const Edge edge = find_edge<D>(cell, which);
    const float2 w = make_float2(edge.weight * g.x, edge.weight * g.y);
    add_edge(grad_table, edge, make_float2(low * w.x, low * w.y), make_float2(up * w.x, up * w.y));
  }
}

template <int D>
KERNEL grid_positions_kernel(HashGridBackward args) {
  const HashGrid& in = args.in;
  const int64_t point = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (point >= in.points) return;
  float d_position[D] = {};
  for (int level = 0; level < in.levels; ++level) {
    const float2 g = __ldg(reinterpret_cast<const float2*>(args.gradient) + point * in.levels + level);
    const float gradient[kFeatures] = {g.x, g.y};
    auto entry = [&in, level](uint32_t index, float* features) {
      const float2 both = read_entry(in, level, index);
      features[0] = both.x;
      features[1] = both.y;
    };
    grid_position_vjp<D>(in, point, level, gradient, entry, d_position);
  }
  for (int d = 0; d < D; ++d) args.grad_positions[D * point + d] = d_position[d];
}

dim3 grid_of(const HashGrid& args, int group) {
  return dim3(blocks_for(args.points * group, kThreads), static_cast<unsigned>((args.levels + group - 1) / group));
}

template <int D>
void features(const HashGrid& args, void* stream) {
  launch(stream, grid_of(args, kForwardLevels), kThreads, grid_kernel<D>, args);
}

template <int D>
void features_vjp(const HashGridBackward& args, void* stream) {
  const HashGrid& in = args.in;
  zero(stream, args.grad_tables, args.copies * kFeatures * in.entries * in.levels * sizeof(float));
  launch(stream, grid_of(in, kBackwardLevels), kThreads, grid_tables_kernel<D>, args);
  if (args.grad_positions != nullptr)
    launch(stream, dim3(blocks_for(in.points, kThreads)), kThreads, grid_positions_kernel<D>, args);
}

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

}  // namespace avatar
