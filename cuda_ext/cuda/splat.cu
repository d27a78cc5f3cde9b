// Splats to pictures on a GPU, all frames of a batch at once: project, lay out the tiles' lists, fill, sort, blend.
// Nothing depends on the order in which threads run: atomics only hand out places, and the sort undoes it.
#include "../include/image.h"
#include "splat_tiles.h"

namespace avatar {
namespace {

constexpr int kSorted = 2048;      // keys that fit into shared memory; longer lists are sorted where they lie
constexpr int kSortThreads = 128;

KERNEL project_kernel(SplatInputs batch, SplatSpace space) {
  SHARED uint32_t totals[kWarp];
  SHARED uint32_t base;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const Frame frame(batch, space, blockIdx.y);
  Splat s = {};
  if (i < batch.count) project_splat(frame_of(batch, blockIdx.y), i, s);
  uint32_t total;
  const uint32_t before = block_scan(static_cast<uint32_t>(s.tiles_x) * s.tiles_y, totals, total);
  if (threadIdx.x == 0) base = static_cast<uint32_t>(atomicAdd(frame.needed, static_cast<unsigned long long>(total)));
  __syncthreads();
  if (i >= batch.count) return;
  s.slot = base + before;
  frame.splats[i] = s;
  for (int y = s.tile_y; y < s.tile_y + s.tiles_y; ++y)
    for (int x = s.tile_x; x < s.tile_x + s.tiles_x; ++x) atomicAdd(&frame.tile_count[y * frame.side + x], 1u);
}

// One block a frame: where the list and the buckets of each tile begin.
KERNEL layout_kernel(SplatInputs batch, SplatSpace space) {
  SHARED uint32_t totals[kWarp];
  const Frame frame(batch, space, blockIdx.x);
  uint32_t pairs = 0, buckets = 0;
  for (int from = 0; from < frame.tiles; from += blockDim.x) {
    const int tile = from + threadIdx.x;
    const uint32_t count = tile < frame.tiles && frame.fits() ? frame.tile_count[tile] : 0;
    uint32_t more_pairs, more_buckets;
    const uint32_t start = pairs + block_scan(count, totals, more_pairs);
    const uint32_t bucket = buckets + block_scan((count + kBucket - 1) / kBucket, totals, more_buckets);
    if (tile < frame.tiles) {
      frame.tile_count[tile] = count;
      frame.tile_start[tile] = frame.tile_end[tile] = start;
      frame.bucket_start[tile] = bucket;
    }
    pairs += more_pairs;
    buckets += more_buckets;
  }
  if (threadIdx.x == 0) frame.bucket_start[frame.tiles] = buckets;
}

KERNEL fill_kernel(SplatInputs batch, SplatSpace space) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const Frame frame(batch, space, blockIdx.y);
  if (i >= batch.count || !frame.fits()) return;
  const Splat s = frame.splats[i];
  const uint64_t key = static_cast<uint64_t>(float_to_bits(s.depth)) << 32 | static_cast<uint32_t>(i);
  for (int y = s.tile_y; y < s.tile_y + s.tiles_y; ++y)
    for (int x = s.tile_x; x < s.tile_x + s.tiles_x; ++x)
      frame.keys[atomicAdd(&frame.tile_end[y * frame.side + x], 1u)] = key;
}

// Bitonic sort in which every comparison puts the smaller key first, so that any n works: what lies beyond the end
// counts as largest and never moves.
DEVICE void sort_keys(uint64_t* keys, uint32_t n) {
  auto order = [&](uint32_t low, uint32_t high) {
    if (high >= n || keys[low] <= keys[high]) return;
    const uint64_t other = keys[low];
    keys[low] = keys[high];
    keys[high] = other;
  };
  uint32_t pairs = 1;
  while (2 * pairs < n) pairs *= 2;
  for (uint32_t size = 2; size <= 2 * pairs; size *= 2) {
    for (uint32_t t = threadIdx.x; t < pairs; t += blockDim.x) {
      const uint32_t block = t / (size / 2) * size, offset = t % (size / 2);
      order(block + offset, block + size - 1 - offset);
    }
    __syncthreads();
    for (uint32_t stride = size / 4; stride > 0; stride /= 2) {
      for (uint32_t t = threadIdx.x; t < pairs; t += blockDim.x) {
        const uint32_t low = t / stride * 2 * stride + t % stride;
        order(low, low + stride);
      }
      __syncthreads();
    }
  }
}

// Sorting networks for a warp: key r of lane l is number kRun l + r of a chunk. Every comparison puts the smaller first.
constexpr int kRun = 8;
constexpr int kChunk = kRun * kWarp;

DEVICE uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }
DEVICE uint64_t most(uint64_t a, uint64_t b) { return a < b ? b : a; }

// Keys that differ in the bits of kMask alone, all of one lane.
template <int kMask>
DEVICE void order_within(uint64_t key[kRun]) {
  for (int r = 0; r < kRun; ++r) {
    const int other = r ^ kMask;
    if (other < r) continue;
    const uint64_t low = least(key[r], key[other]);
    key[other] = most(key[r], key[other]);
    key[r] = low;
  }
}

// Keys `lanes` lanes apart.
DEVICE void order_across(uint64_t key[kRun], int lanes) {
  const bool low = (threadIdx.x & lanes) == 0;
  for (int r = 0; r < kRun; ++r) {
    const uint64_t other = __shfl_xor_sync(kAllLanes, key[r], lanes);
    key[r] = low ? least(key[r], other) : most(key[r], other);
  }
}

// Keys that mirror each other in runs of 2 `lanes` lanes.
DEVICE void order_mirrored(uint64_t key[kRun], int lanes) {
  const bool low = (threadIdx.x & lanes) == 0;
  for (int r = 0; r < kRun / 2; ++r) {
    const int end = kRun - 1 - r;
    const uint64_t first = __shfl_xor_sync(kAllLanes, key[end], 2 * lanes - 1);
    const uint64_t last = __shfl_xor_sync(kAllLanes, key[r], 2 * lanes - 1);
    key[r] = low ? least(key[r], first) : most(key[r], first);
    key[end] = low ? least(key[end], last) : most(key[end], last);
  }
}

// Sorts a chunk of which runs of 2 `lanes` lanes are bitonic.
DEVICE void merge_lanes(uint64_t key[kRun], int lanes) {
  for (; lanes > 0; lanes /= 2) order_across(key, lanes);
  order_within<4>(key);
  order_within<2>(key);
  order_within<1>(key);
}

// Sorts the first n keys of a chunk; the others are largest.
DEVICE void sort_lanes(uint64_t key[kRun], uint32_t n) {
  order_within<1>(key);
  order_within<3>(key);
  order_within<1>(key);
  order_within<7>(key);
  order_within<2>(key);
  order_within<1>(key);
  for (int lanes = 1; lanes < kWarp && lanes * kRun < static_cast<int>(n); lanes *= 2) {
    order_mirrored(key, lanes);
    merge_lanes(key, lanes / 2);
  }
}

// Where number i of a list lies in shared memory: a gap after every run keeps lanes on banks of their own.
DEVICE uint32_t padded(uint32_t i) { return i + i / kRun; }

// This warp's chunk of a list of n keys, from shared memory to registers and back.
DEVICE void load_chunk(const uint64_t* sorted, uint32_t from, uint32_t n, uint64_t key[kRun]) {
  for (int r = 0; r < kRun; ++r) {
    const uint32_t i = from + threadIdx.x % kWarp * kRun + r;
    key[r] = i < n ? sorted[padded(i)] : ~uint64_t{0};
  }
}

DEVICE void store_chunk(const uint64_t key[kRun], uint32_t from, uint32_t n, uint64_t* sorted) {
  for (int r = 0; r < kRun; ++r) {
    const uint32_t i = from + threadIdx.x % kWarp * kRun + r;
    if (i < n) sorted[padded(i)] = key[r];
  }
}

// A list that fits into a chunk, by one warp.
DEVICE void sort_short(uint64_t* keys, uint32_t n, uint64_t* sorted) {
  const uint32_t lane = threadIdx.x % kWarp;
  uint64_t key[kRun];
  for (uint32_t i = lane; i < n; i += kWarp) sorted[padded(i)] = keys[i];
  __syncwarp();
  load_chunk(sorted, 0, n, key);
  sort_lanes(key, n);
  __syncwarp();
  store_chunk(key, 0, n, sorted);
  __syncwarp();
  for (uint32_t i = lane; i < n; i += kWarp) keys[i] = sorted[padded(i)];
}

// A list of up to kSorted keys, by the whole block: chunks by warps, and what reaches across chunks in shared memory.
DEVICE void sort_long(uint64_t* keys, uint32_t n, uint64_t* sorted) {
  const uint32_t warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  auto order = [&](uint32_t low, uint32_t high) {
    if (high >= n || sorted[padded(low)] <= sorted[padded(high)]) return;
    const uint64_t other = sorted[padded(low)];
    sorted[padded(low)] = sorted[padded(high)];
    sorted[padded(high)] = other;
  };
  uint64_t key[kRun];
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) sorted[padded(i)] = keys[i];
  __syncthreads();
  for (uint32_t from = warp * kChunk; from < n; from += warps * kChunk) {
    load_chunk(sorted, from, n, key);
    sort_lanes(key, kChunk);
    store_chunk(key, from, n, sorted);
  }
  __syncthreads();
  uint32_t half = kSorted / 2;
  for (uint32_t size = 2 * kChunk; size < 2 * n; size *= 2) {
    for (uint32_t t = threadIdx.x; t < half; t += blockDim.x) {
      const uint32_t block = t / (size / 2) * size, offset = t % (size / 2);
      order(block + offset, block + size - 1 - offset);
    }
    __syncthreads();
    for (uint32_t stride = size / 4; stride >= kChunk; stride /= 2) {
      for (uint32_t t = threadIdx.x; t < half; t += blockDim.x) {
        const uint32_t low = t / stride * 2 * stride + t % stride;
        order(low, low + stride);
      }
      __syncthreads();
    }
    for (uint32_t from = warp * kChunk; from < n; from += warps * kChunk) {
      load_chunk(sorted, from, n, key);
      merge_lanes(key, kWarp / 2);
      store_chunk(key, from, n, sorted);
    }
    __syncthreads();
  }
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) keys[i] = sorted[padded(i)];
}

// A warp for each tile whose list fits into a chunk.
KERNEL sort_short_kernel(SplatInputs batch, SplatSpace space) {
  SHARED uint64_t sorted[kSortThreads / kWarp][kChunk + kWarp];
  const Frame frame(batch, space, blockIdx.y);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int tile = static_cast<int>(blockIdx.x) * (kSortThreads / kWarp) + warp;
  const uint32_t n = tile < frame.tiles ? frame.tile_count[tile] : 0;
  if (n > 1 && n <= kChunk) sort_short(frame.keys + frame.tile_start[tile], n, sorted[warp]);
}

// A block for each of the others.
KERNEL sort_long_kernel(SplatInputs batch, SplatSpace space) {
  SHARED uint64_t sorted[kSorted + kSorted / kRun];
  const Frame frame(batch, space, blockIdx.y);
  const uint32_t n = frame.tile_count[blockIdx.x];
  uint64_t* keys = frame.keys + frame.tile_start[blockIdx.x];
  if (n > kSorted)
    sort_keys(keys, n);
  else if (n > kChunk)
    sort_long(keys, n, sorted);
}

// The splats that a block works on together.
struct Shelf {
  float4 shape[kTilePixels];  // x, y, a, b
  float4 look[kTilePixels];   // c, log2 of the opacity, red, green
  float blue[kTilePixels];
};

DEVICE void fill_shelf(const Frame& frame, uint32_t tile, uint32_t from, uint32_t n, Shelf& shelf) {
  __syncthreads();
  if (from + threadIdx.x < n) {
    const Splat& s = frame.splats[static_cast<uint32_t>(frame.keys[frame.tile_start[tile] + from + threadIdx.x])];
    shelf.shape[threadIdx.x] = make_float4(s.x, s.y, s.a, s.b);
    shelf.look[threadIdx.x] = make_float4(s.c, s.log2_opacity, s.red, s.green);
    shelf.blue[threadIdx.x] = s.blue;
  }
  __syncthreads();
}

struct Light {
  float through, red, green, blue;
};

DEVICE void add_splat(const Shelf& shelf, uint32_t i, const Pixel& pixel, Light& light) {
  const float4 shape = shelf.shape[i], look = shelf.look[i];
  const float dx = pixel.x - shape.x, dy = pixel.y - shape.y;
  const float exponent = look.y - shape.z * dx * dx - dy * (shape.w * dx + look.x * dy);
  if (!(exponent >= kLog2Cut)) return;
  const float alpha = smaller(exp2_fast(exponent), kAlphaMax);
  const float share = light.through * alpha;
  light.through -= share;
  light.red += share * look.z;
  light.green += share * look.w;
  light.blue += share * shelf.blue[i];
}

// Whether a splat may be seen in a warp's patch, whose first pixel's centre is at (left, top): the least of the
// splat's quadratic form over the patch lies on a side that faces its centre. What rounding may do to the exponents of
// the patch's pixels is allowed for, so that a splat is left out only where add_splat would leave out every pixel.
DEVICE bool may_reach(const Shelf& shelf, uint32_t i, float left, float top) {
  const float4 shape = shelf.shape[i], look = shelf.look[i];
  const float a = shape.z, b = shape.w, c = look.x;
  const float x0 = left - shape.x, x1 = x0 + 7, y0 = top - shape.y, y1 = y0 + 3;
  const float side_x = clamp(0, x0, x1), side_y = clamp(0, y0, y1);
  const float along_y = clamp(-0.5f * b * side_x / c, y0, y1), along_x = clamp(-0.5f * b * side_y / a, x0, x1);
  const float on_vertical = a * side_x * side_x + along_y * (b * side_x + c * along_y);
  const float on_horizontal = a * along_x * along_x + side_y * (b * along_x + c * side_y);
  const float far_x = -x0 > x1 ? -x0 : x1, far_y = -y0 > y1 ? -y0 : y1;
  const float rounding = 4e-6f * (a * far_x * far_x + c * far_y * far_y) + 1e-4f;
  return look.y - smaller(on_vertical, on_horizontal) + rounding >= kLog2Cut;
}

// The pixel over the background, as ToBytes or ToNv12 have it; the lanes of a warp come together, in or out of the picture.
DEVICE void store_bytes(const SplatForwardGpu& args, const Pixel& pixel, const Light& light) {
  const int64_t plane = static_cast<int64_t>(args.in.size) * args.in.size, frame = blockIdx.y;
  const uint8_t* under = args.bytes.background + frame * args.bytes.background_stride + 3 * pixel.at;
  const float alpha = 1.0f - light.through, through = 1.0f - alpha;
  const float drawn[3] = {light.red, light.green, light.blue};
  float color[3] = {};
  if (pixel.inside)
    for (int c = 0; c < 3; ++c) color[c] = clamp(255 * drawn[c] + through * under[c], 0, 255);
  if (!args.bytes.nv12) {
    uint8_t* to = args.bytes.to + 3 * (plane * frame + pixel.at);
    if (pixel.inside)
      for (int c = 0; c < 3; ++c) to[c] = to_byte(color[c]);
    return;
  }
  float mean[3];
  for (int c = 0; c < 3; ++c) {  // of two by two pixels: lanes 1 and 8 apart are neighbours in a row and a column
    const float right = __shfl_xor_sync(kAllLanes, color[c], 1), below = __shfl_xor_sync(kAllLanes, color[c], 8);
    const float across = __shfl_xor_sync(kAllLanes, color[c], 9);
    mean[c] = 0.25f * (color[c] + right + below + across);
  }
  if (!pixel.inside) return;
  uint8_t* to = args.bytes.to + frame * (plane * 3 / 2);
  to[pixel.at] = to_byte(luma_level(color[0], color[1], color[2]));
  if (threadIdx.x % 2 != 0 || threadIdx.x / 8 % 2 != 0) return;
  const Chroma chroma = chroma_levels(mean[0], mean[1], mean[2]);
  const int64_t row = pixel.at / args.in.size, column = pixel.at % args.in.size;
  uint8_t* uv = to + plane + row / 2 * args.in.size + column;
  uv[0] = to_byte(chroma.blue);
  uv[1] = to_byte(chroma.red);
}

// One block a tile, one thread a pixel, one warp a patch. Every kBucket splats the tile may end, and the way back gets a checkpoint.
KERNEL_FOR(kTilePixels) blend_kernel(SplatForwardGpu args) {
  SHARED Shelf shelf;
  const Frame frame(args.in, args.space, blockIdx.y);
  const uint32_t tile = blockIdx.x, n = frame.tile_count[tile], bucket = frame.bucket_start[tile];
  const Pixel pixel(frame, tile, threadIdx.x, args.in.size);
  const uint32_t lane = threadIdx.x % kWarp;
  const float left = pixel.x - static_cast<float>(lane % 8), top = pixel.y - static_cast<float>(lane / 8);
  Light light{pixel.inside ? 1.0f : 0.0f, 0, 0, 0};
  bool dark = false;
  uint32_t k = 0;
  while (k < n && !dark) {
    if (k % kTilePixels == 0) fill_shelf(frame, tile, k, n, shelf);
    if (frame.checkpoints != nullptr) {
      frame.checkpoints[(bucket + k / kBucket) * kTilePixels + threadIdx.x] =
          make_float4(light.through, light.red, light.green, light.blue);
      if (threadIdx.x == 0) frame.bucket_tile[bucket + k / kBucket] = tile;
    }
    const uint32_t end = k + kBucket < n ? k + kBucket : n;
    uint32_t seen = __ballot_sync(kAllLanes, k + lane < end && may_reach(shelf, (k + lane) % kTilePixels, left, top));
    for (; seen != 0; seen &= seen - 1) add_splat(shelf, (k + __ffs(seen) - 1) % kTilePixels, pixel, light);
    k = end;
    dark = __syncthreads_and(light.through < kStop);
  }
  if (threadIdx.x == 0) {
    frame.tile_end[tile] = frame.tile_start[tile] + k;
    // Buckets behind the last that was drawn still have to be found by the way back, to be emptied.
    if (frame.checkpoints != nullptr)
      for (uint32_t b = (k + kBucket - 1) / kBucket; b < (n + kBucket - 1) / kBucket; ++b)
        frame.bucket_tile[bucket + b] = tile;
  }
  if (args.bytes.to != nullptr) return store_bytes(args, pixel, light);
  if (!pixel.inside) return;
  const int64_t plane = static_cast<int64_t>(args.in.size) * args.in.size;
  float* rgb = args.rgb + 3 * plane * blockIdx.y + pixel.at;
  rgb[0] = light.red;
  rgb[plane] = light.green;
  rgb[2 * plane] = light.blue;
  args.alpha[plane * blockIdx.y + pixel.at] = 1.0f - light.through;
}

}  // namespace

void cuda::splat_forward(const SplatForwardGpu& args, void* stream) {
  const unsigned frames = static_cast<unsigned>(args.in.batch);
  const unsigned tiles = static_cast<unsigned>(tiles_of(args.in.size) * tiles_of(args.in.size));
  const dim3 splats(blocks_for(args.in.count, kThreads), frames), lists(tiles, frames);
  zero(stream, args.space.needed, frames * sizeof(uint64_t));
  zero(stream, args.space.tile_count, static_cast<size_t>(tiles) * frames * sizeof(uint32_t));
  launch(stream, splats, kThreads, project_kernel, args.in, args.space);
  launch(stream, dim3(frames), 4 * kThreads, layout_kernel, args.in, args.space);
  launch(stream, splats, kThreads, fill_kernel, args.in, args.space);
  const dim3 warps(blocks_for(tiles, kSortThreads / kWarp), frames);
  launch(stream, warps, kSortThreads, sort_short_kernel, args.in, args.space);
  launch(stream, lists, kSortThreads, sort_long_kernel, args.in, args.space);
  launch(stream, lists, kTilePixels, blend_kernel, args);
}

}  // namespace avatar
