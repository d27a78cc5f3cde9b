#include "../cpu/kernels.h"
#include "../cuda/kernels.h"
#include "arrays.h"

namespace avatar {
namespace {

using InBytes = Address<const uint8_t>;
using OutBytes = Address<uint8_t>;

void photo_moments(In target, int size, Out moments, Stream stream) {
  run(cpu::photo_moments, cuda::photo_moments, {target, size, moments}, stream);
}

void photo_error(In image, In target, In weight, In moments, int size, float ssim_weight, Out workspace,
                 Address<double> sums, Out gradient, Address<double> error, Stream stream) {
  run(cpu::photo_error, cuda::photo_error,
      {image, target, weight, moments, size, ssim_weight, workspace, sums, gradient, error}, stream);
}

void to_bytes(In rgb, In alpha, InBytes background, int64_t background_stride, int size, int64_t batch, OutBytes bytes,
              Stream stream) {
  run(cpu::to_bytes, cuda::to_bytes, {rgb, alpha, background, background_stride, size, batch, bytes}, batch, stream);
}

void to_nv12(In rgb, In alpha, InBytes background, int64_t background_stride, int size, int64_t batch, OutBytes bytes,
             Stream stream) {
  run(cpu::to_nv12, cuda::to_nv12, {rgb, alpha, background, background_stride, size, batch, bytes}, batch, stream);
}

}  // namespace

void bind_image(nanobind::module_& m) {
  m.def("photo_moments", &photo_moments);
  m.def("photo_error", &photo_error);
  m.def("to_bytes", &to_bytes);
  m.def("to_nv12", &to_nv12);
}

}  // namespace avatar
