#include "../cpu/kernels.h"
#include "../cuda/kernels.h"
#include "arrays.h"

namespace avatar {
namespace {

using InBytes = Address<const uint8_t>;
using Index = Address<const int64_t>;

void compose(In rgb, In alpha, In plate, InBytes picture, In blobs, In weights, In exposure, Index frame,
             int64_t frames, int size, Out image, Out truth, Out weight, Out gain, Address<double> partial,
             Address<double> sums, Stream stream) {
  run(cpu::compose, cuda::compose,
      {rgb, alpha, plate, picture, blobs, weights, exposure, frame, frames, size, image, truth, weight, gain, partial,
       sums},
      stream);
}

void compose_backward(In alpha, In plate, InBytes picture, In gain, int size, In grad_image, In grad_matte,
                      Out grad_rgb, Out grad_alpha, Stream stream) {
  run(cpu::compose_backward, cuda::compose_backward,
      {alpha, plate, picture, gain, size, grad_image, grad_matte, grad_rgb, grad_alpha}, stream);
}

void update_exposure(Out exposure, Index frame, int64_t frames, Address<const double> sums, In fitted, float rate,
                     float most, Stream stream) {
  run(cpu::update_exposure, cuda::update_exposure, {exposure, frame, frames, sums, fitted, rate, most}, stream);
}

}  // namespace

void bind_compose(nanobind::module_& m) {
  m.def("compose", &compose);
  m.def("compose_backward", &compose_backward);
  m.def("update_exposure", &update_exposure);
}

}  // namespace avatar
