#include "../cpu/kernels.h"
#include "../cuda/kernels.h"
#include "arrays.h"

#include <vector>

namespace avatar {
namespace {

void deform(In base, In deltas, In coefficients, int64_t columns, int64_t rows, int64_t batch, Out out, Stream stream) {
  run(cpu::deform, cuda::deform, {base, deltas, coefficients, columns, rows, batch, out}, batch, stream);
}

void deform_coefficients(In deltas, In gradient, int64_t columns, int64_t rows, int64_t batch, Out out, Stream stream) {
  std::vector<float> partial(stream ? 0 : (columns / kDeformBlock + 1) * rows);
  run(cpu::deform_coefficients, cuda::deform_coefficients,
      {deltas, gradient, columns, rows, batch, partial.data(), out}, batch, stream);
}

void deform_adam(Out deltas, Out moment1, Out moment2, In gradient, In coefficients, In rate, float rate_all,
                 In factor, double beta1, double beta2, double eps, int64_t step, int64_t columns, int64_t rows, Stream stream) {
  run(cpu::deform_adam, cuda::deform_adam,
      {deltas, moment1, moment2, gradient, coefficients, rate, rate_all, factor, static_cast<float>(beta1),
       static_cast<float>(beta2), static_cast<float>(eps), step, columns, rows},
      stream);
}

void deform_int8(In base, Address<const int8_t> codes, In scales, In coefficients, Address<const int32_t> choice,
                 int64_t columns, int64_t rows, int64_t batch, Out out, Stream stream) {
  run(cpu::deform_int8, cuda::deform_int8, {base, codes, scales, coefficients, choice, columns, rows, batch, out},
      batch, stream);
}

}  // namespace

void bind_deform(nanobind::module_& m) {
  m.def("deform", &deform);
  m.def("deform_coefficients", &deform_coefficients);
  m.def("deform_adam", &deform_adam);
  m.def("deform_int8", &deform_int8);
}

}  // namespace avatar
