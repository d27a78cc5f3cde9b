// Splats to pictures on a GPU, all frames of a batch at once: project, lay out the tiles' lists, fill, sort, blend.
// Nothing depends on the order in which threads run: atomics only hand out places, and the sort undoes it.
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

KERNEL sort_kernel(SplatInputs batch, SplatSpace space) {
  SHARED uint64_t sorted[kSorted];
  const Frame frame(batch, space, blockIdx.y);
  const uint32_t n = frame.tile_count[blockIdx.x];
  uint64_t* keys = frame.keys + frame.tile_start[blockIdx.x];
  if (n < 2) return;
  if (n > kSorted) return sort_keys(keys, n);
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) sorted[i] = keys[i];
  __syncthreads();
  sort_keys(sorted, n);
  for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) keys[i] = sorted[i];
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

// One block a tile, one thread a pixel. Every kBucket splats the tile may end, and the way back gets a checkpoint.
KERNEL blend_kernel(SplatForwardGpu args) {
  SHARED Shelf shelf;
  const Frame frame(args.in, args.space, blockIdx.y);
  const uint32_t tile = blockIdx.x, n = frame.tile_count[tile], bucket = frame.bucket_start[tile];
  const Pixel pixel(frame, tile, threadIdx.x, args.in.size);
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
    for (; k < end; ++k) add_splat(shelf, k % kTilePixels, pixel, light);
    dark = __syncthreads_and(light.through < kStop);
  }
  if (threadIdx.x == 0) {
    frame.tile_end[tile] = frame.tile_start[tile] + k;
    // Buckets behind the last that was drawn still have to be found by the way back, to be emptied.
    if (frame.checkpoints != nullptr)
      for (uint32_t b = (k + kBucket - 1) / kBucket; b < (n + kBucket - 1) / kBucket; ++b)
        frame.bucket_tile[bucket + b] = tile;
  }
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
  launch(stream, lists, kSortThreads, sort_kernel, args.in, args.space);
  launch(stream, lists, kTilePixels, blend_kernel, args);
}

}  // namespace avatar
