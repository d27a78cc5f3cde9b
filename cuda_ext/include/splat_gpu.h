// Splatting on a GPU: all frames in one launch, in buffers of a fixed size that the caller owns. A frame that needs more
// pairs than fit is left empty, and `needed` says how many it needs.
#pragma once
#include "splat.h"

namespace avatar {

constexpr int kBucket = 32;                     // splats of one tile that one warp takes back to their gradients
constexpr int kTilePixels = kTile * kTile;

// Where forward leaves what backward needs. T: tiles of a frame; P: pairs a frame may have; Q = P / 32 + T.
struct SplatSpace {
  Splat* splats;           // [B,N]
  uint64_t* needed;        // [B] pairs
  uint32_t* tile_count;    // [B,T] splats in a tile's list
  uint32_t* tile_start;    // [B,T] first pair
  uint32_t* tile_end;      // [B,T] pair after the last that was drawn
  uint32_t* bucket_start;  // [B,T+1] first bucket; last: how many there are
  uint32_t* bucket_tile;   // [B,Q] its tile; backward only
  uint64_t* keys;          // [B,P] depth, then index in [B,N]
  float* checkpoints;      // [B,Q,256,4] light let through and colour before each bucket; null when no gradient follows
  float* sums;             // [B,P,12]; backward only
  int64_t pairs;           // P
};

HD int tiles_of(int size) { return (size + kTile - 1) / kTile; }

HD int64_t buckets_of(const SplatSpace& space, int64_t tiles) { return space.pairs / kBucket + tiles; }

// Pictures as bytes over a background, where nobody needs them as floats: see ToBytes and ToNv12 in image.h.
struct SplatBytes {
  const uint8_t* background;  // [S,S,3], or [B,S,S,3]
  int64_t background_stride;  // bytes from one frame's to the next; 0 shares one among all frames
  uint8_t* to;                // [B,S,S,3], or with nv12 [B,3 S / 2,S]; null: floats are written
  bool nv12;                  // S is even then
};

struct SplatForwardGpu {
  SplatInputs in;
  SplatSpace space;
  float* rgb;    // [B,3,S,S] premultiplied; null with bytes
  float* alpha;  // [B,1,S,S]; null with bytes
  SplatBytes bytes;
};

struct SplatBackwardGpu {
  SplatInputs in;
  SplatSpace space;
  const float* rgb;
  const float* alpha;
  const float* grad_rgb;
  const float* grad_alpha;
  SplatGradients out;
};

}  // namespace avatar
