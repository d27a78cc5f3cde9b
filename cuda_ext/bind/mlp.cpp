#include <nanobind/stl/vector.h>

#include <vector>

#include "../cpu/kernels.h"
#include "../cuda/kernels.h"
#include "arrays.h"

namespace avatar {
namespace {

MlpShape shape_of(const std::vector<int>& widths) {
  MlpShape shape{static_cast<int>(widths.size()) - 1, {}};
  for (size_t i = 0; i < widths.size() && i <= kMostLayers; ++i) shape.widths[i] = widths[i];
  return shape;
}

void mlp(In inputs, In weights, const std::vector<int>& widths, int64_t samples, Out hidden, Out out, Stream stream) {
  run(cpu::mlp, cuda::mlp, {inputs, weights, shape_of(widths), samples, hidden, out}, stream);
}

void mlp_backward(In inputs, In weights, const std::vector<int>& widths, int64_t samples, In gradient, In hidden,
                  Out grad_hidden, Out partial, Out grad_inputs, Out grad_weights, Stream stream) {
  run(cpu::mlp_backward, cuda::mlp_backward,
      {inputs, weights, shape_of(widths), samples, gradient, hidden, grad_hidden, partial, grad_inputs, grad_weights},
      stream);
}

}  // namespace

void bind_mlp(nanobind::module_& m) {
  m.def("mlp", &mlp);
  m.def("mlp_backward", &mlp_backward);
}

}  // namespace avatar
