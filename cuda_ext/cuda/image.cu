// Pictures on a GPU: the photometric error with its gradient from shared-memory tiles, and bytes.
#include "device.h"

namespace avatar {
namespace {

constexpr int kSide = 16;                       // px of one block's tile
constexpr int kHalo = kSide + 2 * kRadius;

DEVICE float tap(int offset) {
  const int distance = offset < 0 ? -offset : offset;
  // A chain of selects keeps the constants out of local memory.
  return distance == 0 ? kGauss0 : distance == 1 ? kGauss1 : distance == 2 ? kGauss2
       : distance == 3 ? kGauss3 : distance == 4 ? kGauss4 : kGauss5;
}

struct Tile {
  int x, y, channel;  // of the first pixel
};

DEVICE Tile this_tile() {
  return {static_cast<int>(blockIdx.x) * kSide, static_cast<int>(blockIdx.y) * kSide, static_cast<int>(blockIdx.z)};
}

// The tile with its surroundings; zero outside of the picture.
DEVICE void load_tile(const float* plane, const Tile& tile, int size, float to[kHalo][kHalo]) {
  for (int i = threadIdx.x; i < kHalo * kHalo; i += blockDim.x) {
    const int y = tile.y + i / kHalo - kRadius, x = tile.x + i % kHalo - kRadius;
    const bool inside = x >= 0 && y >= 0 && x < size && y < size;
    to[i / kHalo][i % kHalo] = inside ? plane[static_cast<int64_t>(y) * size + x] : 0.0f;
  }
}

// Blur of the product a b (or of a alone) at this thread's pixel; rows goes through shared memory. Two barriers.
DEVICE float blur(const float a[kHalo][kHalo], const float (*b)[kHalo], float rows[kHalo][kSide]) {
  for (int i = threadIdx.x; i < kHalo * kSide; i += blockDim.x) {
    const int y = i / kSide, x = i % kSide;
    float sum = 0;
    for (int t = -kRadius; t <= kRadius; ++t) {
      const float value = a[y][x + kRadius + t];
      sum += tap(t) * (b == nullptr ? value : value * b[y][x + kRadius + t]);
    }
    rows[y][x] = sum;
  }
  __syncthreads();
  const int x = threadIdx.x % kSide, y = threadIdx.x / kSide;
  float sum = 0;
  for (int t = -kRadius; t <= kRadius; ++t) sum += tap(t) * rows[y + kRadius + t][x];
  __syncthreads();
  return sum;
}

KERNEL target_kernel(PhotoMoments args) {
  SHARED float target[kHalo][kHalo];
  SHARED float rows[kHalo][kSide];
  const Tile tile = this_tile();
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  load_tile(args.target + tile.channel * plane, tile, args.size, target);
  __syncthreads();
  const float mean = blur(target, nullptr, rows), square = blur(target, target, rows);
  const int x = tile.x + threadIdx.x % kSide, y = tile.y + threadIdx.x / kSide;
  if (x >= args.size || y >= args.size) return;
  const int64_t at = tile.channel * plane + static_cast<int64_t>(y) * args.size + x;
  args.moments[at] = mean;
  args.moments[3 * plane + at] = square;
}

KERNEL weight_kernel(PhotoError args) {
  SHARED double totals[kWarp];
  const int64_t count = static_cast<int64_t>(args.size) * args.size;
  double sum = 0;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += kErrorBlocks * blockDim.x)
    sum += args.weight[i];
  sum = block_sum(sum, totals);
  if (threadIdx.x == 0) args.sums[blockIdx.x] = sum;
}

// One over three times the sum of the weights; zero when there are none. In every thread of the block.
DEVICE double inverse_weights(const PhotoError& args, double totals[kWarp]) {
  const double sum = block_sum(threadIdx.x < kErrorBlocks ? args.sums[threadIdx.x] : 0.0, totals);
  return sum > 0 ? 1.0 / (3.0 * sum) : 0.0;
}

KERNEL moments_kernel(PhotoError args) {
  SHARED float image[kHalo][kHalo];
  SHARED float target[kHalo][kHalo];
  SHARED float rows[kHalo][kSide];
  SHARED double totals[kWarp];
  const Tile tile = this_tile();
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  load_tile(args.image + tile.channel * plane, tile, args.size, image);
  load_tile(args.target + tile.channel * plane, tile, args.size, target);
  const float scale = static_cast<float>(0.5 * args.ssim_weight * inverse_weights(args, totals));
  const int x = tile.x + threadIdx.x % kSide, y = tile.y + threadIdx.x / kSide;
  const bool inside = x < args.size && y < args.size;
  const int64_t pixel = static_cast<int64_t>(y) * args.size + x, at = tile.channel * plane + pixel;
  const float m = blur(image, nullptr, rows), xx = blur(image, image, rows), xt = blur(image, target, rows);
  float t = 0, tt = 0;
  if (args.moments == nullptr) {
    t = blur(target, nullptr, rows);
    tt = blur(target, target, rows);
  } else if (inside) {
    t = args.moments[at];
    tt = args.moments[3 * plane + at];
  }
  double error = 0;
  if (inside) {
    const Ssim s = ssim(m, t, xx, tt, xt);
    const float weight = args.weight[pixel];
    float* maps = args.workspace + 3 * tile.channel * plane + pixel;
    maps[0] = -scale * weight * s.by_mean;
    maps[plane] = -scale * weight * s.by_xx;
    maps[2 * plane] = -scale * weight * s.by_xt;
    const int row = threadIdx.x / kSide + kRadius, column = threadIdx.x % kSide + kRadius;
    const float difference = image[row][column] - target[row][column];
    error = weight * ((1.0 - args.ssim_weight) * (difference < 0 ? -difference : difference) +
                      0.5 * args.ssim_weight * (1 - s.value));
  }
  error = block_sum(error, totals);
  const int64_t block = (static_cast<int64_t>(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  if (threadIdx.x == 0) args.sums[kErrorBlocks + block] = error;
}

KERNEL gradient_kernel(PhotoError args) {
  SHARED float map[kHalo][kHalo];
  SHARED float rows[kHalo][kSide];
  SHARED double totals[kWarp];
  const Tile tile = this_tile();
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  const float scale = static_cast<float>((1.0 - args.ssim_weight) * inverse_weights(args, totals));
  float blurred[3];
  for (int i = 0; i < 3; ++i) {
    load_tile(args.workspace + (3 * tile.channel + i) * plane, tile, args.size, map);
    __syncthreads();
    blurred[i] = blur(map, nullptr, rows);
  }
  const int x = tile.x + threadIdx.x % kSide, y = tile.y + threadIdx.x / kSide;
  if (x >= args.size || y >= args.size) return;
  const int64_t pixel = static_cast<int64_t>(y) * args.size + x, at = tile.channel * plane + pixel;
  const float i = args.image[at], t = args.target[at];
  args.gradient[at] = blurred[0] + 2 * i * blurred[1] + t * blurred[2] + scale * args.weight[pixel] * sign(i - t);
}

KERNEL error_kernel(PhotoError args, int64_t blocks) {
  SHARED double totals[kWarp];
  const double inverse = inverse_weights(args, totals);
  double sum = 0;
  for (int64_t i = threadIdx.x; i < blocks; i += blockDim.x) sum += args.sums[kErrorBlocks + i];
  sum = block_sum(sum, totals);
  if (threadIdx.x == 0) *args.error = sum * inverse;
}

KERNEL bytes_kernel(ToBytes batch) {
  const ToBytes args = frame_of(batch, blockIdx.y);
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= plane) return;
  const float through = 1.0f - args.alpha[i];
  for (int c = 0; c < 3; ++c)
    args.bytes[3 * i + c] = to_byte(255 * args.rgb[c * plane + i] + through * args.background[3 * i + c]);
}

// One thread makes 2x2 pixels.
KERNEL nv12_kernel(ToNv12 batch) {
  const ToNv12 args = frame_of(batch, blockIdx.y);
  const int64_t plane = static_cast<int64_t>(args.size) * args.size;
  const int64_t index = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (index >= plane / 4) return;
  const int64_t half = args.size / 2, x = 2 * (index % half), y = 2 * (index / half);
  float color[3][4];
  for (int corner = 0; corner < 4; ++corner) {
    const int64_t i = (y + corner / 2) * args.size + x + corner % 2;
    const float through = 1.0f - args.alpha[i];
    for (int c = 0; c < 3; ++c)
      color[c][corner] = clamp(255 * args.rgb[c * plane + i] + through * args.background[3 * i + c], 0, 255);
    args.bytes[i] = to_byte(luma_level(color[0][corner], color[1][corner], color[2][corner]));
  }
  const Chroma chroma = chroma_levels(quarter(color[0], 0, 2), quarter(color[1], 0, 2), quarter(color[2], 0, 2));
  uint8_t* uv = args.bytes + plane + y / 2 * args.size + x;
  uv[0] = to_byte(chroma.blue);
  uv[1] = to_byte(chroma.red);
}

dim3 tiles_of_planes(int size) { return dim3(blocks_for(size, kSide), blocks_for(size, kSide), 3); }

}  // namespace

void cuda::photo_moments(const PhotoMoments& args, void* stream) {
  launch(stream, tiles_of_planes(args.size), kSide * kSide, target_kernel, args);
}

void cuda::photo_error(const PhotoError& args, void* stream) {
  const dim3 grid = tiles_of_planes(args.size);
  launch(stream, dim3(kErrorBlocks), kThreads, weight_kernel, args);
  launch(stream, grid, kSide * kSide, moments_kernel, args);
  launch(stream, grid, kSide * kSide, gradient_kernel, args);
  launch(stream, dim3(1), kThreads, error_kernel, args, static_cast<int64_t>(grid.x) * grid.y * grid.z);
}

void cuda::to_bytes(const ToBytes& args, void* stream) {
  const int64_t pixels = static_cast<int64_t>(args.size) * args.size;
  launch(stream, dim3(blocks_for(pixels, kThreads), static_cast<unsigned>(args.batch)), kThreads, bytes_kernel, args);
}

void cuda::to_nv12(const ToNv12& args, void* stream) {
  const int64_t blocks = static_cast<int64_t>(args.size) * args.size / 4;
  launch(stream, dim3(blocks_for(blocks, kThreads), static_cast<unsigned>(args.batch)), kThreads, nv12_kernel, args);
}

}  // namespace avatar
