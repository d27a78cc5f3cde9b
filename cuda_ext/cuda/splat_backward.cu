// The way back on a GPU, parallel over splats instead of pixels (Mallick et al. 2024, Taming 3DGS): a warp holds the
// kBucket splats of a bucket, one a lane, and the pixels of the tile travel through the lanes front to back. A lane adds
// up its splat's sums in registers; nothing is reduced across lanes, and no sum is touched by two threads.
#include "splat_tiles.h"

namespace avatar {
namespace {

struct Passing {
  float4 gradient[kTilePixels];  // of red, green, blue, alpha
  float2 light[kTilePixels];     // let through before the bucket; gradient carried by what lies behind
};

DEVICE float4 load_picture(const float* rgb, const float* alpha, int64_t plane, int64_t at) {
  return make_float4(rgb[at], rgb[plane + at], rgb[2 * plane + at], alpha[at]);
}

DEVICE void load_pixels(const SplatBackwardGpu& args, const Frame& frame, uint32_t tile, uint32_t bucket,
                        Passing& passing) {
  const int64_t plane = static_cast<int64_t>(args.in.size) * args.in.size;
  const int64_t color = 3 * plane * blockIdx.y, cover = plane * blockIdx.y;
  for (int p = threadIdx.x; p < kTilePixels; p += kWarp) {
    const Pixel pixel(frame, tile, p, args.in.size);
    float4 g = make_float4(0, 0, 0, 0);
    float2 light = make_float2(0, 0);
    if (pixel.inside) {
      const float4 all = load_picture(args.rgb + color, args.alpha + cover, plane, pixel.at);
      const float4 before = frame.checkpoints[static_cast<int64_t>(bucket) * kTilePixels + p];
      g = load_picture(args.grad_rgb + color, args.grad_alpha + cover, plane, pixel.at);
      light.x = before.x;
      light.y = g.x * (all.x - before.y) + g.y * (all.y - before.z) + g.z * (all.z - before.w) +
                g.w * (all.w - (1.0f - before.x));
    }
    passing.gradient[p] = g;
    passing.light[p] = light;
  }
  __syncwarp();
}

// What splat s does to one pixel, taken back: the pixel's light moves behind the splat, the sums grow.
DEVICE void add_pixel(const Splat& s, const Pixel& pixel, const float4& g, float2& light, float sum[9]) {
  const float dx = pixel.x - s.x, dy = pixel.y - s.y;
  const float exponent = s.log2_opacity - s.a * dx * dx - dy * (s.b * dx + s.c * dy);
  if (!(exponent >= kLog2Cut)) return;
  const float raw = exp2_fast(exponent), alpha = smaller(raw, kAlphaMax), share = light.x * alpha;
  const float f = g.x * s.red + g.y * s.green + g.z * s.blue + g.w;
  light.y -= share * f;
  const float d_alpha = light.x * f - light.y / (1.0f - alpha);
  light.x -= share;
  sum[0] += share * g.x;
  sum[1] += share * g.y;
  sum[2] += share * g.z;
  const float h = raw < kAlphaMax ? d_alpha * alpha : 0.0f;
  const float hx = h * dx, hy = h * dy;
  sum[3] += h;
  sum[4] += hx;
  sum[5] += hy;
  sum[6] += hx * dx;
  sum[7] += hy * dx;
  sum[8] += hy * dy;
}

KERNEL bucket_kernel(SplatBackwardGpu args) {
  SHARED Passing passing;
  const Frame frame(args.in, args.space, blockIdx.y);
  const uint32_t bucket = blockIdx.x, lane = threadIdx.x;
  if (bucket >= frame.bucket_start[frame.tiles]) return;
  const uint32_t tile = frame.bucket_tile[bucket], from = kBucket * (bucket - frame.bucket_start[tile]);
  const uint32_t listed = frame.tile_count[tile], drawn = frame.tile_end[tile] - frame.tile_start[tile];
  Splat s = {};
  if (from + lane < listed) s = frame.splats[static_cast<uint32_t>(frame.keys[frame.tile_start[tile] + from + lane])];
  float sum[9] = {};
  if (from < drawn) {
    load_pixels(args, frame, tile, bucket, passing);
    float2 light = make_float2(0, 0);
    for (int step = 0; step < kTilePixels + kWarp - 1; ++step) {
      light.x = __shfl_up_sync(kAllLanes, light.x, 1);
      light.y = __shfl_up_sync(kAllLanes, light.y, 1);
      const int p = step - static_cast<int>(lane);
      if (p < 0 || p >= kTilePixels) continue;
      if (lane == 0) light = passing.light[p];
      if (from + lane < drawn) add_pixel(s, Pixel(frame, tile, p, args.in.size), passing.gradient[p], light, sum);
    }
  }
  if (from + lane >= listed) return;
  const uint32_t column = tile % frame.side - s.tile_x, row = tile / frame.side - s.tile_y;
  float* slot = frame.sums + (static_cast<int64_t>(s.slot) + row * s.tiles_x + column) * kSums;
  for (int j = 0; j < 9; ++j) slot[j] = sum[j];
}

KERNEL gather_kernel(SplatBackwardGpu args) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= args.in.count) return;
  const Frame frame(args.in, args.space, blockIdx.y);
  const SplatGradients out = frame_of(args.out, args.in.count, blockIdx.y);
  const Splat& s = frame.splats[i];
  const int slots = static_cast<int>(s.tiles_x) * s.tiles_y;
  if (slots == 0 || !frame.fits()) return zero_gradients(out, i);
  const float* slot = frame.sums + static_cast<int64_t>(s.slot) * kSums;
  float sum[9] = {};
  for (int n = 0; n < slots; ++n, slot += kSums)
    for (int j = 0; j < 9; ++j) sum[j] += slot[j];
  splat_vjp(frame_of(args.in, blockIdx.y), sum, i, out);
}

}  // namespace

void cuda::splat_backward(const SplatBackwardGpu& args, void* stream) {
  const unsigned frames = static_cast<unsigned>(args.in.batch);
  const int64_t tiles = static_cast<int64_t>(tiles_of(args.in.size)) * tiles_of(args.in.size);
  const unsigned buckets = static_cast<unsigned>(buckets_of(args.space, tiles));
  launch(stream, dim3(buckets, frames), kWarp, bucket_kernel, args);
  launch(stream, dim3(blocks_for(args.in.count, kThreads), frames), kThreads, gather_kernel, args);
}

}  // namespace avatar
