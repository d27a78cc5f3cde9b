// The hash grid on a GPU: a thread for each point and level. The tables' gradients are summed by atomics, so their last
// bits depend on the order of the threads; everything else is the same each time.
#include "device.h"

namespace avatar {
namespace {

// Entries of one level's table. Two corners that differ in x alone are neighbours in an aligned pair half of the time,
// in hashed levels too (the first prime is 1): then both come with one load.
struct FloatTable {
  const float2* entries;
  DEVICE_MEMBER FloatTable(const float* tables, int64_t count, int level)
      : entries(reinterpret_cast<const float2*>(tables) + count * level) {}
  DEVICE_MEMBER float2 one(uint32_t index) const { return __ldg(entries + index); }
  DEVICE_MEMBER float4 two(uint32_t pair) const { return __ldg(reinterpret_cast<const float4*>(entries) + pair); }
};

struct HalfTable {
  const uint32_t* entries;
  DEVICE_MEMBER HalfTable(const float* tables, int64_t count, int level)
      : entries(reinterpret_cast<const uint32_t*>(tables) + count * level) {}
  DEVICE_MEMBER float2 one(uint32_t index) const { return unpack_half2(__ldg(entries + index)); }
  DEVICE_MEMBER float4 two(uint32_t pair) const {
    const uint2 both = __ldg(reinterpret_cast<const uint2*>(entries) + pair);
    const float2 a = unpack_half2(both.x), b = unpack_half2(both.y);
    return make_float4(a.x, a.y, b.x, b.y);
  }
};

// The two corners number `which` of the other dimensions, lower and upper in x.
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

template <int D, int G, class Table, bool Pairs, bool Transposed>
KERNEL grid_kernel(HashGrid args) {
  int64_t point;
  int level;
  if (!find_work<G>(args, point, level)) return;
  const Cell<D> cell = find_cell<D>(args.positions + D * point, args.resolutions[level], args.entries);
  const Table table(args.tables, args.entries, level);
  const float up = cell.part[0], low = 1.0f - up;
  float2 sum = make_float2(0.0f, 0.0f);
  for (int which = 0; which < 1 << (D - 1); ++which) {
    const Edge edge = find_edge<D>(cell, which);
    float2 lower, upper;
    if (Pairs) {
      const float4 both = table.two(edge.lower >> 1);
      const bool second = edge.lower & 1u;
      lower = second ? make_float2(both.z, both.w) : make_float2(both.x, both.y);
      upper = second ? make_float2(both.x, both.y) : make_float2(both.z, both.w);
      if (!edge.is_pair()) upper = table.one(edge.upper);
    } else {
      lower = table.one(edge.lower);
      upper = table.one(edge.upper);
    }
    sum.x += edge.weight * (low * lower.x + up * upper.x);
    sum.y += edge.weight * (low * lower.y + up * upper.y);
  }
  if (Transposed)
    reinterpret_cast<float2*>(args.scratch)[args.points * level + point] = sum;
  else
    reinterpret_cast<float2*>(args.out)[point * args.levels + level] = sum;
}

constexpr int kTile = 32;

// [L,P,2] -> [P,L,2]
KERNEL transpose_kernel(HashGrid args) {
  SHARED float2 tile[kTile][kTile + 1];
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kTile;
  const int base = static_cast<int>(blockIdx.y) * kTile, levels = args.levels - base < kTile ? args.levels - base : kTile;
  for (int i = static_cast<int>(threadIdx.x); i < levels * kTile; i += kThreads) {
    const int64_t point = first + i % kTile;
    if (point < args.points)
      tile[i / kTile][i % kTile] = reinterpret_cast<const float2*>(args.scratch)[args.points * (base + i / kTile) + point];
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < levels * kTile; i += kThreads) {
    const int64_t point = first + i / levels;
    if (point < args.points)
      reinterpret_cast<float2*>(args.out)[point * args.levels + base + i % levels] = tile[i % levels][i / levels];
  }
}

enum Atomics { kOne, kTwo, kFour };

template <Atomics A>
DEVICE void add_edge(float* grad_table, const Edge& edge, const float2& lower, const float2& upper) {
  float* a = grad_table + kFeatures * edge.lower;
  float* b = grad_table + kFeatures * edge.upper;
  if (A == kOne) {
    atomicAdd(a, lower.x);
    atomicAdd(a + 1, lower.y);
    atomicAdd(b, upper.x);
    atomicAdd(b + 1, upper.y);
  } else if (A == kFour && edge.is_pair()) {
    const bool second = edge.lower & 1u;
    const float2 x = second ? upper : lower, y = second ? lower : upper;
    add_float4(second ? b : a, x.x, x.y, y.x, y.y);
  } else {
    add_float2(a, lower.x, lower.y);
    add_float2(b, upper.x, upper.y);
  }
}

template <int D, int G, Atomics A>
KERNEL grid_tables_kernel(HashGridBackward args) {
  const HashGrid& in = args.in;
  int64_t point;
  int level;
  if (!find_work<G>(in, point, level)) return;
  const float2 g = __ldg(reinterpret_cast<const float2*>(args.gradient) + point * in.levels + level);
  if (g.x == 0.0f && g.y == 0.0f) return;  // behind what is opaque
  float* grad_table = args.grad_tables + kFeatures * in.entries * level;
  const Cell<D> cell = find_cell<D>(in.positions + D * point, in.resolutions[level], in.entries);
  const float up = cell.part[0], low = 1.0f - up;
  for (int which = 0; which < 1 << (D - 1); ++which) {
    const Edge edge = find_edge<D>(cell, which);
    const float2 w = make_float2(edge.weight * g.x, edge.weight * g.y);
    add_edge<A>(grad_table, edge, make_float2(low * w.x, low * w.y), make_float2(up * w.x, up * w.y));
  }
}

// The sum over this lane and those behind it, up to lane `end`.
DEVICE float run_sum(float value, int lane, int end) {
  for (int step = 1; step < kWarp; step *= 2) {
    const float more = __shfl_down_sync(kAllLanes, value, step);
    if (lane + step < end) value += more;
  }
  return value;
}

// Neighbouring points of a ray lie in one cell of the coarse levels: their gradients are summed before the atomics.
template <int D, Atomics A>
KERNEL grid_runs_kernel(HashGridBackward args) {
  const HashGrid& in = args.in;
  int64_t point;
  int level;
  const bool real = find_work<1>(in, point, level);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float* grad_table = args.grad_tables + kFeatures * in.entries * level;
  const Cell<D> cell = find_cell<D>(in.positions + (real ? D * point : 0), in.resolutions[level], in.entries);
  float2 g = make_float2(0.0f, 0.0f);
  if (real) g = __ldg(reinterpret_cast<const float2*>(args.gradient) + point * in.levels + level);
  bool same = lane > 0;
  for (int d = 0; d < D; ++d) same = __shfl_up_sync(kAllLanes, cell.term[d], 1) == cell.term[d] && same;
  const unsigned heads = __ballot_sync(kAllLanes, !same), later = heads >> lane >> 1;
  const int end = later != 0u ? lane + __ffs(static_cast<int>(later)) : kWarp;
  const bool runs = __popc(heads) <= kWarp / 2;
  const float up = cell.part[0], low = 1.0f - up;
  for (int which = 0; which < 1 << (D - 1); ++which) {
    const Edge edge = find_edge<D>(cell, which);
    const float2 w = make_float2(edge.weight * g.x, edge.weight * g.y);
    float2 lower = make_float2(low * w.x, low * w.y), upper = make_float2(up * w.x, up * w.y);
    if (runs) {
      lower = make_float2(run_sum(lower.x, lane, end), run_sum(lower.y, lane, end));
      upper = make_float2(run_sum(upper.x, lane, end), run_sum(upper.y, lane, end));
    }
    const bool nothing = lower.x == 0.0f && lower.y == 0.0f && upper.x == 0.0f && upper.y == 0.0f;
    if (!(runs && same) && !nothing) add_edge<A>(grad_table, edge, lower, upper);
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
    const FloatTable table(in.tables, in.entries, level);
    const float gradient[kFeatures] = {g.x, g.y};
    auto entry = [table](uint32_t index, float* features) {
      const float2 both = table.one(index);
      features[0] = both.x;
      features[1] = both.y;
    };
    grid_position_vjp<D>(in, point, level, gradient, entry, d_position);
  }
  for (int d = 0; d < D; ++d) args.grad_positions[D * point + d] = d_position[d];
}

dim3 grid_of(const HashGrid& args, int lanes) {
  return dim3(blocks_for(args.points * lanes, kThreads), static_cast<unsigned>((args.levels + lanes - 1) / lanes));
}

template <int D, int G, class Table>
void start_features(const HashGrid& args, void* stream) {
  // A table of one entry has no pairs.
  if ((args.variant & 8) != 0 && args.entries > 1)
    launch(stream, grid_of(args, G), kThreads, grid_kernel<D, G, Table, true, false>, args);
  else
    launch(stream, grid_of(args, G), kThreads, grid_kernel<D, G, Table, false, false>, args);
}

template <int D, class Table>
void features(const HashGrid& args, void* stream) {
  if ((args.variant & 32) != 0) {
    launch(stream, grid_of(args, 1), kThreads, grid_kernel<D, 1, Table, true, true>, args);
    const unsigned groups = static_cast<unsigned>((args.levels + kTile - 1) / kTile);
    return launch(stream, dim3(blocks_for(args.points, kTile), groups), kThreads, transpose_kernel, args);
  }
  if ((args.variant & 7) == 0) return start_features<D, 1, Table>(args, stream);
  if ((args.variant & 7) == 1) return start_features<D, 2, Table>(args, stream);
  if ((args.variant & 7) == 2) return start_features<D, 4, Table>(args, stream);
  if ((args.variant & 7) == 3) return start_features<D, 8, Table>(args, stream);
  start_features<D, 16, Table>(args, stream);
}

template <int D, Atomics A>
void start_tables(const HashGridBackward& args, void* stream) {
  const int variant = args.in.variant;
  if ((variant & 64) != 0) return launch(stream, grid_of(args.in, 1), kThreads, grid_runs_kernel<D, A>, args);
  if ((variant & 7) == 0) return launch(stream, grid_of(args.in, 1), kThreads, grid_tables_kernel<D, 1, A>, args);
  if ((variant & 7) == 2) return launch(stream, grid_of(args.in, 4), kThreads, grid_tables_kernel<D, 4, A>, args);
  launch(stream, grid_of(args.in, 16), kThreads, grid_tables_kernel<D, 16, A>, args);
}

template <int D>
void features_vjp(const HashGridBackward& args, void* stream) {
  const HashGrid& in = args.in;
  zero(stream, args.grad_tables, kFeatures * in.entries * in.levels * sizeof(float));
  const int atomics = in.entries > 1 ? in.variant >> 4 & 3 : 0;
  if (atomics == kOne) start_tables<D, kOne>(args, stream);
  if (atomics == kTwo) start_tables<D, kTwo>(args, stream);
  if (atomics == kFour) start_tables<D, kFour>(args, stream);
  if (args.grad_positions != nullptr)
    launch(stream, dim3(blocks_for(in.points, kThreads)), kThreads, grid_positions_kernel<D>, args);
}

template <int D>
void any_features(const HashGrid& args, void* stream) {
  if ((args.variant & 16) != 0) return features<D, HalfTable>(args, stream);
  features<D, FloatTable>(args, stream);
}

}  // namespace

void cuda::hash_grid(const HashGrid& args, void* stream) {
  if (args.dimensions == 2) return any_features<2>(args, stream);
  if (args.dimensions == 3) return any_features<3>(args, stream);
  any_features<4>(args, stream);
}

void cuda::hash_grid_backward(const HashGridBackward& args, void* stream) {
  if (args.in.dimensions == 2) return features_vjp<2>(args, stream);
  if (args.in.dimensions == 3) return features_vjp<3>(args, stream);
  features_vjp<4>(args, stream);
}

}  // namespace avatar
