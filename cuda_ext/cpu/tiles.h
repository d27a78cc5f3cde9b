// From raw parameters to lists of projected splats for each tile, in depth order: one radix sort, a stable scatter.
#pragma once
#include "../include/splat.h"
#include "simd.h"

namespace avatar {
namespace ISA {

constexpr int64_t kProjectBlock = 256;
constexpr int kChunks = 8;  // parts of the sorted list that are counted and scattered side by side

HD int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void project_all(const SplatInputs& in, SplatContext& c) {
  Splat* splats = static_cast<Splat*>(reserve(c.splats, in.count * sizeof(Splat)));
  auto body = [&](int64_t block) {
    const int64_t end = smaller(in.count, (block + 1) * kProjectBlock);
    for (int64_t i = block * kProjectBlock; i < end; ++i) project_splat(in, i, splats[i]);
  };
  parallel((in.count + kProjectBlock - 1) / kProjectBlock, body);
}

struct Entry {
  uint32_t depth, index;
};

// Stable radix sort of the visible splats by depth (positive floats sort as integers); digits that do not vary cost nothing.
static Entry* sort_by_depth(SplatContext& c) {
  Splat* splats = static_cast<Splat*>(c.splats.data);
  Entry* from = static_cast<Entry*>(reserve(c.order, c.count * sizeof(Entry)));
  Entry* to = static_cast<Entry*>(reserve(c.scratch, c.count * sizeof(Entry)));
  uint32_t histogram[3][2048];
  memset(histogram, 0, sizeof histogram);
  uint32_t visible = 0;
  uint64_t slots = 0;
  for (int64_t i = 0; i < c.count; ++i) {
    Splat& s = splats[i];
    const uint32_t area = static_cast<uint32_t>(s.tiles_x) * s.tiles_y;
    s.slot = static_cast<uint32_t>(slots);
    if (area == 0) continue;
    slots += area;
    const uint32_t key = float_to_bits(s.depth);
    from[visible++] = {key, static_cast<uint32_t>(i)};
    ++histogram[0][key & 2047];
    ++histogram[1][key >> 11 & 2047];
    ++histogram[2][key >> 22];
  }
  c.visible = visible;
  c.pairs = slots;
  for (int pass = 0; pass < 3; ++pass) {
    uint32_t* h = histogram[pass];
    const int shift = 11 * pass;
    if (visible == 0 || h[from[0].depth >> shift & 2047] == visible) continue;
    uint32_t sum = 0;
    for (int d = 0; d < 2048; ++d) {
      const uint32_t n = h[d];
      h[d] = sum;
      sum += n;
    }
    for (uint32_t i = 0; i < visible; ++i) to[h[from[i].depth >> shift & 2047]++] = from[i];
    Entry* other = from;
    from = to;
    to = other;
  }
  return from;
}

// Lists of splats for each tile, in depth order.
static void bin(SplatContext& c, const Entry* order) {
  const Splat* splats = static_cast<const Splat*>(c.splats.data);
  const int64_t tiles = static_cast<int64_t>(c.tiles) * c.tiles;
  uint32_t* counts = static_cast<uint32_t*>(reserve(c.chunk_counts, kChunks * tiles * sizeof(uint32_t)));
  uint32_t* start = static_cast<uint32_t*>(reserve(c.tile_start, (tiles + 1) * sizeof(uint32_t)));
  uint32_t* pairs = static_cast<uint32_t*>(reserve(c.pair_splat, c.pairs * sizeof(uint32_t)));
  auto range = [&](int64_t chunk) { return static_cast<int64_t>(c.visible) * chunk / kChunks; };
  auto count = [&](int64_t chunk) {
    uint32_t* mine = counts + chunk * tiles;
    memset(mine, 0, tiles * sizeof(uint32_t));
    for (int64_t i = range(chunk); i < range(chunk + 1); ++i) {
      const Splat& s = splats[order[i].index];
      for (int y = s.tile_y; y < s.tile_y + s.tiles_y; ++y)
        for (int x = s.tile_x; x < s.tile_x + s.tiles_x; ++x) ++mine[y * c.tiles + x];
    }
  };
  parallel(kChunks, count);
  uint32_t sum = 0;
  for (int64_t t = 0; t < tiles; ++t) {
    start[t] = sum;
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      uint32_t& n = counts[chunk * tiles + t];
      const uint32_t here = n;
      n = sum;
      sum += here;
    }
  }
  start[tiles] = sum;
  auto scatter = [&](int64_t chunk) {
    uint32_t* cursor = counts + chunk * tiles;
    for (int64_t i = range(chunk); i < range(chunk + 1); ++i) {
      const uint32_t index = order[i].index;
      const Splat& s = splats[index];
      for (int y = s.tile_y; y < s.tile_y + s.tiles_y; ++y)
        for (int x = s.tile_x; x < s.tile_x + s.tiles_x; ++x) pairs[cursor[y * c.tiles + x]++] = index;
    }
  };
  parallel(kChunks, scatter);
}

}  // namespace ISA
}  // namespace avatar
