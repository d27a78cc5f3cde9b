// What the way to the picture and the way back share: one frame's part of the buffers, and the pixels of a tile.
#pragma once
#include "device.h"

namespace avatar {

DEVICE float smaller(float a, float b) { return a < b ? a : b; }

struct Frame {
  Splat* splats;
  unsigned long long* needed;
  uint32_t *tile_count, *tile_start, *tile_end, *bucket_start, *bucket_tile;
  uint64_t* keys;
  float4* checkpoints;
  float* sums;
  int64_t pairs;
  int side, tiles;

  DEVICE_MEMBER Frame(const SplatInputs& in, const SplatSpace& space, int64_t frame)
      : pairs(space.pairs), side(tiles_of(in.size)), tiles(side * side) {
    const int64_t buckets = buckets_of(space, tiles);
    splats = space.splats + frame * in.count;
    needed = reinterpret_cast<unsigned long long*>(space.needed) + frame;
    tile_count = space.tile_count + frame * tiles;
    tile_start = space.tile_start + frame * tiles;
    tile_end = space.tile_end + frame * tiles;
    bucket_start = space.bucket_start + frame * (tiles + 1);
    bucket_tile = space.bucket_tile + frame * buckets;
    keys = space.keys + frame * pairs;
    checkpoints = space.checkpoints == nullptr
                      ? nullptr
                      : reinterpret_cast<float4*>(space.checkpoints) + frame * buckets * kTilePixels;
    sums = space.sums == nullptr ? nullptr : space.sums + frame * pairs * kSums;
  }

  DEVICE_MEMBER bool fits() const { return *needed <= static_cast<unsigned long long>(pairs); }
};

// Pixel p of a tile; 32 neighbours in p are a patch of 8 x 4, so that a warp skips the splats that miss it.
struct Pixel {
  float x, y;  // px, of its centre
  int64_t at;  // index in a plane
  bool inside;

  DEVICE_MEMBER Pixel(const Frame& frame, uint32_t tile, int p, int size) {
    const int patch = p / kWarp, lane = p % kWarp;
    const int column = static_cast<int>(tile % frame.side) * kTile + patch % 2 * 8 + lane % 8;
    const int row = static_cast<int>(tile / frame.side) * kTile + patch / 2 * 4 + lane / 8;
    x = static_cast<float>(column) + 0.5f;
    y = static_cast<float>(row) + 0.5f;
    at = static_cast<int64_t>(row) * size + column;
    inside = column < size && row < size;
  }
};

}  // namespace avatar
