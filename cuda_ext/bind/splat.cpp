#include <nanobind/stl/array.h>

#include <array>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "../cpu/kernels.h"
#include "../cpu/pool.h"
#include "../cuda/kernels.h"
#include "arrays.h"

namespace avatar {
namespace {

using Inputs = std::array<In, 6>;       // means, quaternions, log_scales, opacity_logits, colors; focals or None
using Strides = std::array<int64_t, 5>;
using Gradients = std::array<Out, 5>;   // of the same

using Part = std::array<float, 4>;      // side of the view, left and top of the picture in it, low-pass

SplatInputs inputs_of(const Inputs& in, const Strides& strides, int64_t count, int batch, float focal, int size,
                      const Part& part) {
  return {in[0], in[1], in[2], in[3], in[4], {strides[0], strides[1], strides[2], strides[3], strides[4]},
          count, batch, focal, size, in[5], part[0], part[1], part[2], part[3]};
}

SplatGradients gradients_of(const Gradients& out) { return {out[0], out[1], out[2], out[3], out[4]}; }

// Contexts are reused: fresh megabytes for each frame would cost more page faults than the projection takes.
class ContextPool {
 public:
  SplatContext take() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) return SplatContext{};
    SplatContext context = free_.back();
    free_.pop_back();
    return context;
  }

  void give(SplatContext& context) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (free_.size() < kKept) return free_.push_back(context);
    }
    for (Buffer* buffer : {&context.splats, &context.order, &context.scratch, &context.tile_start, &context.tile_end,
                           &context.pair_splat, &context.chunk_counts, &context.sums})
      release(*buffer);
  }

 private:
  static constexpr size_t kKept = 4;
  std::mutex mutex_;
  std::vector<SplatContext> free_;
};

ContextPool& contexts() {
  static ContextPool* pool = new ContextPool;  // outlives every Python object
  return *pool;
}

// One context for each frame of a batch; or for all of them, when no gradient follows.
struct OwnedContexts {
  std::vector<SplatContext> frames;
  explicit OwnedContexts(int count) {
    for (int i = 0; i < count; ++i) frames.push_back(contexts().take());
  }
  OwnedContexts(const OwnedContexts&) = delete;
  ~OwnedContexts() {
    for (SplatContext& frame : frames) contexts().give(frame);
  }
};

OwnedContexts* splat_forward(const Inputs& arrays, const Strides& strides, int64_t count, int batch, float focal,
                             int size, const Part& part, bool training, Out rgb, Out alpha, Stream) {
  auto owned = std::make_unique<OwnedContexts>(training ? batch : 1);
  const SplatInputs in = inputs_of(arrays, strides, count, batch, focal, size, part);
  const int64_t plane = static_cast<int64_t>(size) * size;
  nanobind::gil_scoped_release unlocked;
  for (int64_t frame = 0; frame < batch; ++frame) {
    SplatContext& context = owned->frames[training ? frame : 0];
    cpu::splat_forward({frame_of(in, frame), &context, rgb + 3 * plane * frame, alpha + plane * frame});
    if (context.pairs >= 0xffffffffu) 
      throw std::invalid_argument("splat: more than 4e9 (splat, tile) pairs in a frame; the splats are far too large");
  }
  return owned.release();  // Python owns it
}

void splat_backward(OwnedContexts& owned, const Inputs& arrays, const Strides& strides, int64_t count, int batch,
                    float focal, int size, const Part& part, In rgb, In alpha, In grad_rgb, In grad_alpha,
                    const Gradients& gradients, Stream) {
  const SplatInputs in = inputs_of(arrays, strides, count, batch, focal, size, part);
  const SplatGradients out = gradients_of(gradients);
  const int64_t plane = static_cast<int64_t>(size) * size;
  nanobind::gil_scoped_release unlocked;
  for (int64_t frame = 0; frame < batch; ++frame) {
    const int64_t color = 3 * plane * frame, cover = plane * frame;
    cpu::splat_backward({frame_of(in, frame), &owned.frames[frame], rgb + color, alpha + cover, grad_rgb + color,
                         grad_alpha + cover, frame_of(out, count, frame)});
  }
}

using Space = std::array<Address<void>, 10>;  // in the order of SplatSpace

SplatSpace space_of(const Space& s, int64_t pairs) {
  auto integers = [&](int i) { return static_cast<uint32_t*>(s[i].at); };
  return {static_cast<Splat*>(s[0].at), static_cast<uint64_t*>(s[1].at), integers(2), integers(3), integers(4), integers(5), integers(6),
          static_cast<uint64_t*>(s[7].at), static_cast<float*>(s[8].at), static_cast<float*>(s[9].at), pairs};
}

void splat_forward_gpu(const Inputs& arrays, const Strides& strides, int64_t count, int batch, float focal, int size,
                       const Part& part, const Space& space, int64_t pairs, Out rgb, Out alpha, Address<void> stream) {
  nanobind::gil_scoped_release unlocked;
  const SplatInputs in = inputs_of(arrays, strides, count, batch, focal, size, part);
  cuda::splat_forward({in, space_of(space, pairs), rgb, alpha, {}}, stream);
}

void splat_bytes_gpu(const Inputs& arrays, const Strides& strides, int64_t count, int batch, float focal, int size,
                     const Part& part, const Space& space, int64_t pairs, Address<const uint8_t> background,
                     int64_t background_stride, Address<uint8_t> bytes, bool nv12, Address<void> stream) {
  nanobind::gil_scoped_release unlocked;
  const SplatInputs in = inputs_of(arrays, strides, count, batch, focal, size, part);
  const SplatBytes out{background, background_stride, bytes, nv12};
  cuda::splat_forward({in, space_of(space, pairs), nullptr, nullptr, out}, stream);
}

void splat_backward_gpu(const Inputs& arrays, const Strides& strides, int64_t count, int batch, float focal, int size,
                        const Part& part, const Space& space, int64_t pairs, In rgb, In alpha, In grad_rgb,
                        In grad_alpha, const Gradients& gradients, Address<void> stream) {
  nanobind::gil_scoped_release unlocked;
  const SplatInputs in = inputs_of(arrays, strides, count, batch, focal, size, part);
  cuda::splat_backward({in, space_of(space, pairs), rgb, alpha, grad_rgb, grad_alpha, gradients_of(gradients)}, stream);
}

}  // namespace

void bind_splat(nanobind::module_& m) {
  nanobind::class_<OwnedContexts>(m, "SplatContexts");
  m.def("splat_forward", &splat_forward);
  m.def("splat_backward", &splat_backward);
  m.def("splat_forward_gpu", &splat_forward_gpu);
  m.def("splat_bytes_gpu", &splat_bytes_gpu);
  m.def("splat_backward_gpu", &splat_backward_gpu);
}

}  // namespace avatar
