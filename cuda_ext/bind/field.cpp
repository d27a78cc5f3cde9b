#include "../cpu/kernels.h"
#include "../cuda/kernels.h"
#include "arrays.h"

namespace avatar {
namespace {

void hash_grid(In positions, In tables, Address<const int32_t> resolutions, int64_t points, int dimensions, int levels,
               int64_t entries, Out out, Stream stream) {
  run(cpu::hash_grid, cuda::hash_grid, {positions, tables, resolutions, points, dimensions, levels, entries, out},
      stream);
}

void hash_grid_backward(In positions, In tables, Address<const int32_t> resolutions, int64_t points, int dimensions,
                        int levels, int64_t entries, In gradient, Out grad_tables, Out grad_positions,
                        int64_t copies, Stream stream) {
  const HashGrid in{positions, tables, resolutions, points, dimensions, levels, entries, nullptr};
  run(cpu::hash_grid_backward, cuda::hash_grid_backward, {in, gradient, grad_tables, grad_positions, copies},
      stream);
}

March march(In origins, In directions, In jitter, Address<const uint8_t> occupancy, Address<const uint8_t> coarse,
            int64_t rays, int grid, In depths, float step, Address<int32_t> counts) {
  return {origins, directions, jitter, occupancy, coarse, rays, grid, depths, step, counts, nullptr, nullptr, nullptr,
          nullptr};
}

void march_count(In origins, In directions, In jitter, Address<const uint8_t> occupancy, Address<const uint8_t> coarse,
                 int64_t rays, int grid, In depths, float step, Address<int32_t> counts, Stream stream) {
  run(cpu::march_count, cuda::march_count,
      march(origins, directions, jitter, occupancy, coarse, rays, grid, depths, step, counts), stream);
}

void march_fill(In origins, In directions, In jitter, Address<const uint8_t> occupancy, Address<const uint8_t> coarse,
                int64_t rays, int grid, In depths, float step, Address<int32_t> counts, Address<const int64_t> starts,
                Out positions, Out distances, Address<int32_t> ray_of, Stream stream) {
  March args = march(origins, directions, jitter, occupancy, coarse, rays, grid, depths, step, counts);
  args.starts = starts;
  args.positions = positions;
  args.distances = distances;
  args.ray_of = ray_of;
  run(cpu::march_fill, cuda::march_fill, args, stream);
}

void composite(In sigmas, In colors, In deltas, Address<const int64_t> starts, Address<const int32_t> counts,
               int64_t rays, int channels, Out color, Out alpha, Stream stream) {
  run(cpu::composite, cuda::composite, {sigmas, colors, deltas, starts, counts, rays, channels, color, alpha}, stream);
}

void composite_backward(In sigmas, In colors, In deltas, Address<const int64_t> starts, Address<const int32_t> counts,
                        int64_t rays, int channels, Out color, Out alpha, In grad_color, In grad_alpha,
                        Out grad_sigmas, Out grad_colors, Stream stream) {
  const Composite in{sigmas, colors, deltas, starts, counts, rays, channels, color, alpha};
  run(cpu::composite_backward, cuda::composite_backward, {in, grad_color, grad_alpha, grad_sigmas, grad_colors},
      stream);
}

}  // namespace

void bind_field(nanobind::module_& m) {
  m.def("hash_grid", &hash_grid);
  m.def("hash_grid_backward", &hash_grid_backward);
  m.def("march_count", &march_count);
  m.def("march_fill", &march_fill);
  m.def("composite", &composite);
  m.def("composite_backward", &composite_backward);
}

}  // namespace avatar
