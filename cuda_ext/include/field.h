// Radiance fields: multi-resolution hash grid (Mueller et al. 2022, Instant-NGP), marching rays through an occupancy
// grid, and compositing along them (Max 1995), each with what its way back needs.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int64_t kFieldBlock = 4096;  // points of one task
constexpr int kFeatures = 2;           // numbers of a table entry
constexpr int kMostChannels = 16;      // of a composited colour
constexpr float kRayStop = 1e-4f;      // a ray ends when no more than this gets through
constexpr float kMostSteps = 1 << 20;  // of a ray: depths that are not finite end, too

struct HashGrid {
  const float* positions;      // [P,D] 0..1
  const float* tables;         // [L,T,2], T a power of two
  const int32_t* resolutions;  // [L] cells a side
  int64_t points;
  int dimensions;              // 2, 3 or 4
  int levels;
  int64_t entries;
  float* out;                  // [P,2L]
};

struct HashGridBackward {
  HashGrid in;
  const float* gradient;   // [P,2L]
  float* grad_tables;      // [C,L,T,2], whose sum over C is the gradient
  float* grad_positions;   // [P,D] or null
  int64_t copies;          // C, a power of two; 1 on the CPU
};

struct March {
  const float* origins;      // [R,3]
  const float* directions;   // [R,3]
  const float* jitter;       // [R] 0..1 steps, or null: a half
  const uint8_t* occupancy;  // [G,G,G] by z, y, x over the cube 0..1; 0 = empty
  const uint8_t* coarse;     // [G/8,G/8,G/8] filled where any of 8^3 cells is, or null
  int64_t rays;
  int grid;
  const float* depths;       // [2] near and far along the ray, in lengths of its direction
  float step;
  int32_t* counts;           // [R]: written by the first pass, read by the second, which keeps no more of a ray
  const int64_t* starts;     // [R]: read by the second
  float* positions;          // [P,3]
  float* distances;          // [P] from the origin
  int32_t* ray_of;           // [P]
};

struct Composite {
  const float* sigmas;    // [P] density
  const float* colors;    // [P,C]
  const float* deltas;    // [P] length of the sample
  const int64_t* starts;  // [R]
  const int32_t* counts;  // [R]
  int64_t rays;
  int channels;
  float* color;           // [R,C]
  float* alpha;           // [R]
};

struct CompositeBackward {
  Composite in;
  const float* grad_color;  // [R,C]
  const float* grad_alpha;  // [R]
  float* grad_sigmas;       // [P]
  float* grad_colors;       // [P,C]
};

// One point in one level: its cell, and where between the cell's corners it lies.
template <int D>
struct Cell {
  uint32_t term[D], stride[D];  // what the lower corner brings to an entry's index, and what the upper one adds
  float part[D];
  uint32_t mask;
  bool dense;
};

template <int D>
HD Cell<D> find_cell(const float* position, int32_t resolution, int64_t entries) {
  constexpr uint32_t primes[4] = {1u, 2654435761u, 805459861u, 3674653429u};
  Cell<D> cell;
  cell.mask = static_cast<uint32_t>(entries - 1);
  int64_t corners = 1;
  for (int d = 0; d < D; ++d) corners = corners > entries ? corners : corners * (resolution + 1);
  cell.dense = corners <= entries;
  uint32_t stride = 1;
  for (int d = 0; d < D; ++d) {
    const float scaled = clamp(position[d], 0.0f, 1.0f) * static_cast<float>(resolution);
    const int lower = static_cast<int>(clamp(floorf(scaled), 0.0f, static_cast<float>(resolution - 1)));
    cell.part[d] = scaled - static_cast<float>(lower);
    cell.stride[d] = cell.dense ? stride : primes[d];
    cell.term[d] = static_cast<uint32_t>(lower) * cell.stride[d];
    stride *= static_cast<uint32_t>(resolution + 1);
  }
  return cell;
}

// Table entry of corner number `which` (bit d: the upper one in dimension d), and its weight.
template <int D>
HD uint32_t corner_entry(const Cell<D>& cell, int which, float& weight) {
  uint32_t index = 0;
  weight = 1.0f;
  for (int d = 0; d < D; ++d) {
    const uint32_t upper = which >> d & 1, at = cell.term[d] + (upper ? cell.stride[d] : 0u);
    weight *= upper ? cell.part[d] : 1.0f - cell.part[d];
    index = cell.dense ? index + at : index ^ at;
  }
  return cell.dense ? index : index & cell.mask;
}

// Adds to d_position what the features of one level mean for the position; entry(index, two floats) reads the table.
template <int D, class Entry>
HD void grid_position_vjp(const HashGrid& in, int64_t point, int level, const float gradient[2], Entry entry,
                          float d_position[D]) {
  const Cell<D> cell = find_cell<D>(in.positions + D * point, in.resolutions[level], in.entries);
  for (int which = 0; which < 1 << D; ++which) {
    float weight, features[kFeatures];
    entry(corner_entry<D>(cell, which, weight), features);
    const float value = gradient[0] * features[0] + gradient[1] * features[1];
    for (int d = 0; d < D; ++d) {
      float slope = static_cast<float>(in.resolutions[level]);
      for (int other = 0; other < D; ++other)
        if (other != d) slope *= which >> other & 1 ? cell.part[other] : 1.0f - cell.part[other];
      d_position[d] += (which >> d & 1 ? slope : -slope) * value;
    }
  }
}

constexpr int kCoarse = 8;  // cells a side of a coarse cell

HD bool filled(const uint8_t* grid, int side, const int cell[3], int divisor) {
  const int64_t x = cell[0] / divisor, y = cell[1] / divisor, z = cell[2] / divisor;
  return grid[(z * side + y) * side + x] != 0;
}

// Distance from a point in an empty cell to the cell's nearest wall along the ray; at and pace in fine cells.
HD float way_out(const float at[3], const int cell[3], const float pace[3], const float inverse[3], int divisor,
                 float most) {
  for (int d = 0; d < 3; ++d) {
    const int lower = cell[d] / divisor * divisor;
    const float wall = static_cast<float>(pace[d] > 0 ? lower + divisor : lower);
    const float until = pace[d] == 0.0f ? most : (wall - at[d]) * inverse[d];
    most = until < most ? until : most;
  }
  return most;
}

// Walks one ray; keep(number of kept samples so far, position, distance) is called for each sample in a filled cell,
// `most` of them at most.
template <class Keep>
HD int32_t walk_ray(const March& args, int64_t ray, int32_t most, Keep keep) {
  const float* origin = args.origins + 3 * ray;
  const float* direction = args.directions + 3 * ray;
  const float shift = args.jitter != nullptr ? args.jitter[ray] : 0.5f;
  const float side = static_cast<float>(args.grid), steps_a_length = 1.0f / args.step;
  const float near = args.depths[0], far = args.depths[1];
  const int32_t samples = static_cast<int32_t>(clamp(ceilf((far - near) / args.step), 0.0f, kMostSteps));
  float start[3], pace[3], inverse[3];  // in cells; a direction of zero never leaves through that wall
  for (int d = 0; d < 3; ++d) {
    start[d] = origin[d] * side;
    pace[d] = direction[d] * side;
    inverse[d] = direction[d] == 0.0f ? 3e38f : 1.0f / pace[d];
  }
  int32_t kept = 0;
  for (int32_t i = 0; i < samples && kept < most;) {
    const float t = near + (static_cast<float>(i) + shift) * args.step;
    float at[3];
    int cell[3];
    bool inside = true;
    for (int d = 0; d < 3; ++d) {
      at[d] = start[d] + pace[d] * t;
      inside = inside && at[d] >= 0.0f && at[d] < side;
      cell[d] = static_cast<int>(clamp(at[d], 0.0f, side - 1.0f));
    }
    if (!inside) {
      ++i;
      continue;
    }
    const bool wide = args.coarse != nullptr && !filled(args.coarse, args.grid / kCoarse, cell, kCoarse);
    if (!wide && filled(args.occupancy, args.grid, cell, 1)) {
      const float position[3] = {origin[0] + direction[0] * t, origin[1] + direction[1] * t,
                                 origin[2] + direction[2] * t};
      keep(kept++, position, t);
      ++i;
      continue;
    }
    // Rounded down, so that no sample of the next cell is missed.
    const float left = way_out(at, cell, pace, inverse, wide ? kCoarse : 1, far - t);
    const int32_t jump = static_cast<int32_t>(clamp(left * steps_a_length - 1e-3f, 0.0f, static_cast<float>(samples)));
    i += jump > 1 ? jump : 1;
  }
  return kept;
}

HD void composite_ray(const Composite& in, int64_t ray) {
  const int64_t start = in.starts[ray];
  float through = 1.0f, color[kMostChannels] = {};
  for (int64_t i = start; i < start + in.counts[ray] && through >= kRayStop; ++i) {
    const float share = through * (1.0f - exp_fast(-in.sigmas[i] * in.deltas[i]));
    for (int c = 0; c < in.channels; ++c) color[c] += share * in.colors[i * in.channels + c];
    through -= share;
  }
  for (int c = 0; c < in.channels; ++c) in.color[ray * in.channels + c] = color[c];
  in.alpha[ray] = 1.0f - through;
}

// Front to back once more: what is behind a sample is what is left of the ray's result.
HD void composite_ray_vjp(const CompositeBackward& args, int64_t ray) {
  const Composite& in = args.in;
  const int64_t start = in.starts[ray], end = start + in.counts[ray];
  const float* g = args.grad_color + ray * in.channels;
  float through = 1.0f, behind = args.grad_alpha[ray] * in.alpha[ray];
  for (int c = 0; c < in.channels; ++c) behind += g[c] * in.color[ray * in.channels + c];
  for (int64_t i = start; i < end; ++i) {
    const float* color = in.colors + i * in.channels;
    float* d_color = args.grad_colors + i * in.channels;
    if (through < kRayStop) {
      args.grad_sigmas[i] = 0.0f;
      for (int c = 0; c < in.channels; ++c) d_color[c] = 0.0f;
      continue;
    }
    const float pass = exp_fast(-in.sigmas[i] * in.deltas[i]), share = through * (1.0f - pass);
    float f = args.grad_alpha[ray];
    for (int c = 0; c < in.channels; ++c) {
      f += g[c] * color[c];
      d_color[c] = share * g[c];
    }
    behind -= share * f;
    // Of the share: through * pass * delta * f. What lies behind falls by delta with every unit of density.
    args.grad_sigmas[i] = in.deltas[i] * (through * pass * f - behind);
    through -= share;
  }
}

}  // namespace avatar
