// Gaussian splats to a picture and back: tiles blended in L1, sums written to slots of their own and no atomics, so the
// result is the same for any number of threads.
#include "../include/splat.h"

#include "kernels.h"
#include "tiles.h"

namespace avatar {
namespace ISA {

constexpr int kRowVecs = kTile / kLanes;

// What both directions share about one tile: where it lies and how much light its pixels still let through.
struct Tile {
  Vec through[kTile][kRowVecs];
  int x, y, width, height;

  void begin(const SplatContext& c, int64_t tile) {
    x = static_cast<int>(tile % c.tiles) * kTile;
    y = static_cast<int>(tile / c.tiles) * kTile;
    width = static_cast<int>(smaller(kTile, c.size - x));
    height = static_cast<int>(smaller(kTile, c.size - y));
    const Vec lane = iota();
    for (int v = 0; v < kRowVecs; ++v) {
      const Vec open = lane + static_cast<float>(v * kLanes) < splat_of(static_cast<float>(width)) ? Vec{} + 1.0f : Vec{};
      for (int row = 0; row < kTile; ++row) through[row][v] = row < height ? open : Vec{};
    }
  }

  bool opaque() const {
    Vec most = through[0][0];
    for (int row = 0; row < kTile; ++row)
      for (int v = 0; v < kRowVecs; ++v) most = through[row][v] > most ? through[row][v] : most;
    for (int i = 0; i < kLanes; ++i)
      if (most[i] >= kStop) return false;
    return true;
  }

  void rows_of(const Splat& s, int& from, int& to) const {
    const float top = s.y - 0.5f - y;
    from = static_cast<int>(__builtin_ceilf(clamp(top - s.ry, 0.0f, 16.0f)));
    to = static_cast<int>(__builtin_floorf(clamp(top + s.ry, -1.0f, static_cast<float>(height - 1)))) + 1;
  }
};

HD void load_row(const float* from, int width, Vec* to) {
  if (width == kTile) {
    memcpy(to, from, kTile * sizeof(float));
  } else {
    memset(to, 0, kTile * sizeof(float));
    memcpy(to, from, width * sizeof(float));
  }
}

// exponent(row) = fall + dy (bdx + c dy), alpha = 2^exponent
struct Column {
  Vec dx[kRowVecs], fall[kRowVecs], bdx[kRowVecs];

  void begin(const Splat& s, int tile_x) {
    const Vec lane = iota();
    for (int v = 0; v < kRowVecs; ++v) {
      dx[v] = lane + (static_cast<float>(tile_x + v * kLanes) + 0.5f - s.x);
      fall[v] = s.log2_opacity - s.a * dx[v] * dx[v];
      bdx[v] = s.b * dx[v];
    }
  }
};

static void blend_tile(const SplatForward& args, int64_t index) {
  SplatContext& c = *args.context;
  const Splat* splats = static_cast<const Splat*>(c.splats.data);
  const uint32_t* start = static_cast<const uint32_t*>(c.tile_start.data);
  const uint32_t* pairs = static_cast<const uint32_t*>(c.pair_splat.data);
  Tile tile;
  tile.begin(c, index);
  Vec red[kTile][kRowVecs], green[kTile][kRowVecs], blue[kTile][kRowVecs];
  memset(red, 0, sizeof red);
  memset(green, 0, sizeof green);
  memset(blue, 0, sizeof blue);
  const uint32_t first = start[index], last = start[index + 1];
  uint32_t k = first;
  for (; k < last; ++k) {
    if (((k - first) & 15) == 0 && k > first && tile.opaque()) break;
    if (k + 8 < last) __builtin_prefetch(&splats[pairs[k + 8]]);
    const Splat s = splats[pairs[k]];
    int from, to;
    tile.rows_of(s, from, to);
    Column column;
    column.begin(s, tile.x);
    for (int row = from; row < to; ++row) {
      const float dy = static_cast<float>(tile.y + row) + 0.5f - s.y;
      const float cdy = s.c * dy;
      for (int v = 0; v < kRowVecs; ++v) {
        const Vec exponent = column.fall[v] - dy * (column.bdx[v] + cdy);
        Vec alpha = exp2_vec(exponent);
        alpha = alpha < kAlphaMax ? alpha : Vec{} + kAlphaMax;
        alpha = exponent >= kLog2Cut ? alpha : Vec{};
        const Vec share = tile.through[row][v] * alpha;
        tile.through[row][v] -= share;
        red[row][v] += share * s.red;
        green[row][v] += share * s.green;
        blue[row][v] += share * s.blue;
      }
    }
  }
  static_cast<uint32_t*>(c.tile_end.data)[index] = k;
  const int64_t plane = static_cast<int64_t>(c.size) * c.size;
  for (int row = 0; row < tile.height; ++row) {
    const int64_t at = static_cast<int64_t>(tile.y + row) * c.size + tile.x;
    const size_t bytes = tile.width * sizeof(float);
    Vec covered[kRowVecs];
    for (int v = 0; v < kRowVecs; ++v) covered[v] = 1.0f - tile.through[row][v];
    memcpy(args.rgb + at, red[row], bytes);
    memcpy(args.rgb + plane + at, green[row], bytes);
    memcpy(args.rgb + 2 * plane + at, blue[row], bytes);
    memcpy(args.alpha + at, covered, bytes);
  }
}

void splat_forward(const SplatForward& args) {
  SplatContext& c = *args.context;
  c.count = args.in.count;
  c.size = args.in.size;
  c.tiles = (c.size + kTile - 1) / kTile;
  project_all(args.in, c);
  const Entry* order = sort_by_depth(c);
  if (c.pairs >= 0xffffffffu) return;  // the caller reports it
  bin(c, order);
  const int64_t tiles = static_cast<int64_t>(c.tiles) * c.tiles;
  reserve(c.tile_end, tiles * sizeof(uint32_t));
  auto body = [&](int64_t tile) { blend_tile(args, tile); };
  parallel(tiles, body);
}

// Sums over the lanes of n registers, in a fixed order.
template <int n>
HD void sum_lanes(const Vec* values, float* out) {
  for (int i = 0; i < n; ++i) {
    typedef float Four __attribute__((vector_size(16)));
    Four parts[kLanes / 4];
    memcpy(parts, &values[i], sizeof parts);
    Four sum = parts[0];
    for (int p = 1; p < kLanes / 4; ++p) sum += parts[p];
    out[i] = (sum[0] + sum[2]) + (sum[1] + sum[3]);
  }
}

// Each (splat, tile) leaves nine sums: colour (3), h, h dx, h dy, h dx^2, h dx dy, h dy^2; h = dL/d(natural log of alpha).
static void blend_tile_vjp(const SplatBackward& args, int64_t index) {
  SplatContext& c = *args.context;
  const Splat* splats = static_cast<const Splat*>(c.splats.data);
  const uint32_t* start = static_cast<const uint32_t*>(c.tile_start.data);
  const uint32_t* pairs = static_cast<const uint32_t*>(c.pair_splat.data);
  const uint32_t end = static_cast<const uint32_t*>(c.tile_end.data)[index];
  float* sums = static_cast<float*>(c.sums.data);
  const int64_t plane = static_cast<int64_t>(c.size) * c.size;
  Tile tile;
  tile.begin(c, index);
  const int tile_column = static_cast<int>(index % c.tiles), tile_row = static_cast<int>(index / c.tiles);
  auto slot_of = [&](const Splat& s) {
    const uint32_t local = (tile_row - s.tile_y) * s.tiles_x + (tile_column - s.tile_x);
    return sums + (static_cast<size_t>(s.slot) + local) * kSums;
  };
  Vec g_red[kTile][kRowVecs], g_green[kTile][kRowVecs], g_blue[kTile][kRowVecs], g_alpha[kTile][kRowVecs];
  Vec behind[kTile][kRowVecs];  // gradient carried by what lies behind the current splat
  for (int row = 0; row < tile.height; ++row) {
    const int64_t at = static_cast<int64_t>(tile.y + row) * c.size + tile.x;
    load_row(args.grad_rgb + at, tile.width, g_red[row]);
    load_row(args.grad_rgb + plane + at, tile.width, g_green[row]);
    load_row(args.grad_rgb + 2 * plane + at, tile.width, g_blue[row]);
    load_row(args.grad_alpha + at, tile.width, g_alpha[row]);
    Vec red[kRowVecs], green[kRowVecs], blue[kRowVecs], alpha[kRowVecs];
    load_row(args.rgb + at, tile.width, red);
    load_row(args.rgb + plane + at, tile.width, green);
    load_row(args.rgb + 2 * plane + at, tile.width, blue);
    load_row(args.alpha + at, tile.width, alpha);
    for (int v = 0; v < kRowVecs; ++v)
      behind[row][v] = g_red[row][v] * red[v] + g_green[row][v] * green[v] + g_blue[row][v] * blue[v] +
                       g_alpha[row][v] * alpha[v];
  }
  for (uint32_t k = start[index]; k < end; ++k) {
    if (k + 8 < end) __builtin_prefetch(&splats[pairs[k + 8]]);
    const Splat s = splats[pairs[k]];
    int from, to;
    tile.rows_of(s, from, to);
    Column column;
    column.begin(s, tile.x);
    Vec acc[9];
    for (Vec& v : acc) v = Vec{};
    for (int row = from; row < to; ++row) {
      const float dy = static_cast<float>(tile.y + row) + 0.5f - s.y;
      const float cdy = s.c * dy;
      for (int v = 0; v < kRowVecs; ++v) {
        const Vec exponent = column.fall[v] - dy * (column.bdx[v] + cdy);
        const Vec raw = exp2_vec(exponent);
        Vec alpha = raw < kAlphaMax ? raw : Vec{} + kAlphaMax;
        alpha = exponent >= kLog2Cut ? alpha : Vec{};
        const Vec through = tile.through[row][v];
        const Vec share = through * alpha;
        const Vec f = g_red[row][v] * s.red + g_green[row][v] * s.green + g_blue[row][v] * s.blue + g_alpha[row][v];
        behind[row][v] -= share * f;
        const Vec d_alpha = through * f - behind[row][v] / (1.0f - alpha);
        tile.through[row][v] = through - share;
        Vec h = d_alpha * alpha;
        h = raw < kAlphaMax ? h : Vec{};
        acc[0] += share * g_red[row][v];
        acc[1] += share * g_green[row][v];
        acc[2] += share * g_blue[row][v];
        const Vec hx = h * column.dx[v], hy = h * dy;
        acc[3] += h;
        acc[4] += hx;
        acc[5] += hy;
        acc[6] += hx * column.dx[v];
        acc[7] += hy * column.dx[v];
        acc[8] += hy * dy;
      }
    }
    sum_lanes<9>(acc, slot_of(s));
  }
  for (uint32_t k = end; k < start[index + 1]; ++k) memset(slot_of(splats[pairs[k]]), 0, 9 * sizeof(float));
}

static void gather(const SplatBackward& args, int64_t i) {
  const Splat& s = static_cast<const Splat*>(args.context->splats.data)[i];
  const int slots = static_cast<int>(s.tiles_x) * s.tiles_y;
  if (slots == 0) return zero_gradients(args.out, i);
  const float* slot = static_cast<const float*>(args.context->sums.data) + static_cast<size_t>(s.slot) * kSums;
  float sum[9] = {};
  for (int n = 0; n < slots; ++n, slot += kSums)
    for (int j = 0; j < 9; ++j) sum[j] += slot[j];
  splat_vjp(args.in, sum, i, args.out);
}

void splat_backward(const SplatBackward& args) {
  SplatContext& c = *args.context;
  reserve(c.sums, c.pairs * kSums * sizeof(float));
  auto tile = [&](int64_t index) { blend_tile_vjp(args, index); };
  parallel(static_cast<int64_t>(c.tiles) * c.tiles, tile);
  auto block = [&](int64_t index) {
    const int64_t end = smaller(c.count, (index + 1) * kProjectBlock);
    for (int64_t i = index * kProjectBlock; i < end; ++i) gather(args, i);
  };
  parallel((c.count + kProjectBlock - 1) / kProjectBlock, block);
}

}  // namespace ISA
}  // namespace avatar
