// The only file that knows Python: arrays in, argument structs out. Shapes were checked in ops.py.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <vector>

#include "cpu/kernels.h"
#include "cpu/pool.h"

namespace nb = nanobind;
using namespace avatar;

namespace {

template <class T>
using Array = nb::ndarray<T, nb::c_contig, nb::device::cpu>;
using In = Array<const float>;
using Out = Array<float>;

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

struct OwnedContext {
  SplatContext data = contexts().take();
  OwnedContext() = default;
  OwnedContext(const OwnedContext&) = delete;
  ~OwnedContext() { contexts().give(data); }
};

SplatInputs splat_inputs(const In& means, const In& quaternions, const In& log_scales, const In& opacity_logits,
                         const In& colors, float focal, int size) {
  return {means.data(), quaternions.data(), log_scales.data(), opacity_logits.data(), colors.data(),
          static_cast<int64_t>(means.shape(0)), focal, size};
}

OwnedContext* splat_forward(In means, In quaternions, In log_scales, In opacity_logits, In colors,
                                            float focal, int size, Out rgb, Out alpha) {
  auto context = std::make_unique<OwnedContext>();
  nb::gil_scoped_release unlocked;
  cpu::splat_forward({splat_inputs(means, quaternions, log_scales, opacity_logits, colors, focal, size),
                      &context->data, rgb.data(), alpha.data()});
  if (context->data.pairs >= 0xffffffffu) throw std::runtime_error("splat: more than 4e9 (splat, tile) pairs");
  return context.release();  // Python owns it
}

void splat_backward(OwnedContext& context, In means, In quaternions, In log_scales, In opacity_logits, In colors,
                    float focal, int size, In rgb, In alpha, In grad_rgb, In grad_alpha, Out grad_means,
                    Out grad_quaternions, Out grad_log_scales, Out grad_opacity_logits, Out grad_colors,
                    std::optional<Out> screen_gradient) {
  nb::gil_scoped_release unlocked;
  cpu::splat_backward({splat_inputs(means, quaternions, log_scales, opacity_logits, colors, focal, size),
                       &context.data, rgb.data(), alpha.data(), grad_rgb.data(), grad_alpha.data(), grad_means.data(),
                       grad_quaternions.data(), grad_log_scales.data(), grad_opacity_logits.data(), grad_colors.data(),
                       screen_gradient ? screen_gradient->data() : nullptr});
}

double photo_error(In image, In target, In weight, float ssim_weight, Out workspace, Array<double> sums, Out gradient) {
  double error = 0;
  nb::gil_scoped_release unlocked;
  cpu::photo_error({image.data(), target.data(), weight.data(), static_cast<int>(image.shape(1)), ssim_weight,
                    workspace.data(), sums.data(), gradient.data(), &error});
  return error;
}

void to_bytes(In rgb, In alpha, Array<const uint8_t> background, Array<uint8_t> bytes) {
  nb::gil_scoped_release unlocked;
  cpu::to_bytes({rgb.data(), alpha.data(), background.data(), static_cast<int>(rgb.shape(1)), bytes.data()});
}

void deform(In base, In deltas, In coefficients, Out out) {
  nb::gil_scoped_release unlocked;
  cpu::deform({base.data(), deltas.data(), coefficients.data(), static_cast<int64_t>(deltas.shape(1)),
               static_cast<int64_t>(deltas.shape(0)), out.data()});
}

void deform_coefficients(In deltas, In gradient, Out out) {
  const int64_t rows = static_cast<int64_t>(deltas.shape(0)), columns = static_cast<int64_t>(deltas.shape(1));
  std::vector<float> partial((columns / kDeformBlock + 1) * rows);
  nb::gil_scoped_release unlocked;
  cpu::deform_coefficients({deltas.data(), gradient.data(), columns, rows, partial.data(), out.data()});
}

void deform_adam(Out deltas, Out moment1, Out moment2, In gradient, In coefficients, std::optional<In> rate,
                 float rate_all, double beta1, double beta2, double eps, int64_t step) {
  nb::gil_scoped_release unlocked;
  cpu::deform_adam({deltas.data(), moment1.data(), moment2.data(), gradient.data(), coefficients.data(),
                    rate ? rate->data() : nullptr, rate_all, static_cast<float>(beta1), static_cast<float>(beta2),
                    static_cast<float>(eps), step, static_cast<int64_t>(deltas.shape(1)),
                    static_cast<int64_t>(deltas.shape(0))});
}

void deform_int8(In base, Array<const int8_t> codes, In scales, In coefficients, Out out) {
  nb::gil_scoped_release unlocked;
  cpu::deform_int8({base.data(), codes.data(), scales.data(), coefficients.data(), static_cast<int64_t>(codes.shape(1)),
                    static_cast<int64_t>(codes.shape(0)), out.data()});
}

PlaceInputs place_inputs(const In& means, const In& quaternions, const In& rigidity, const In& rotation,
                         const In& translation, const In& rest_rotation, const In& rest_translation, const In& torso,
                         float focal) {
  return {means.data(),         quaternions.data(),      rigidity.data(), rotation.data(), translation.data(),
          rest_rotation.data(), rest_translation.data(), torso.data(),    focal,           static_cast<int64_t>(means.shape(0))};
}

void place(In means, In quaternions, In rigidity, In rotation, In translation, In rest_rotation, In rest_translation,
           In torso, float focal, Out out_means, Out out_quaternions) {
  nb::gil_scoped_release unlocked;
  cpu::place({place_inputs(means, quaternions, rigidity, rotation, translation, rest_rotation, rest_translation, torso,
                           focal),
              out_means.data(), out_quaternions.data()});
}

void place_backward(In means, In quaternions, In rigidity, In rotation, In translation, In rest_rotation,
                    In rest_translation, In torso, float focal, In grad_out_means, In grad_out_quaternions,
                    Out grad_means, Out grad_quaternions, Out grad_rigidity, Out grad_rotation, Out grad_translation) {
  std::vector<float> partial((means.shape(0) / kPlaceBlock + 1) * kPoseSums);
  nb::gil_scoped_release unlocked;
  cpu::place_backward({place_inputs(means, quaternions, rigidity, rotation, translation, rest_rotation,
                                    rest_translation, torso, focal),
                       grad_out_means.data(), grad_out_quaternions.data(), partial.data(), grad_means.data(),
                       grad_quaternions.data(), grad_rigidity.data(), grad_rotation.data(), grad_translation.data()});
}

}  // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // a graph that is alive at exit is no leak
  nb::class_<OwnedContext>(m, "SplatContext");
  m.def("splat_forward", &splat_forward);
  m.def("splat_backward", &splat_backward, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(),
        nb::arg().none());
  m.def("photo_error", &photo_error);
  m.def("to_bytes", &to_bytes);
  m.def("deform", &deform);
  m.def("deform_coefficients", &deform_coefficients);
  m.def("deform_adam", &deform_adam, nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg(), nb::arg().none(), nb::arg(),
        nb::arg(), nb::arg(), nb::arg(), nb::arg());
  m.def("deform_int8", &deform_int8);
  m.def("place", &place);
  m.def("place_backward", &place_backward);
  m.def("set_threads", &set_threads);
  m.def("get_threads", &get_threads);
  m.def("isa", &isa);
}
