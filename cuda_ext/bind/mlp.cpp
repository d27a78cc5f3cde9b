#include <nanobind/stl/vector.h>

#include <vector>

#include "../cpu/kernels.h"
#include "arrays.h"

namespace avatar {
namespace {

MlpShape shape_of(const std::vector<int>& widths) {
  MlpShape shape{static_cast<int>(widths.size()) - 1, {}};
  for (size_t i = 0; i < widths.size() && i <= kMostLayers; ++i) shape.widths[i] = widths[i];
  return shape;
}

// On the CPU alone: a GPU's products are torch's.
void mlp(In inputs, In weights, const std::vector<int>& widths, int64_t samples, Out out, Stream) {
  nanobind::gil_scoped_release unlocked;
  cpu::mlp({inputs, weights, shape_of(widths), samples, out});
}

void mlp_backward(In inputs, In weights, const std::vector<int>& widths, int64_t samples, In gradient, Out partial,
                  Out grad_inputs, Out grad_weights, Stream) {
  nanobind::gil_scoped_release unlocked;
  cpu::mlp_backward({inputs, weights, shape_of(widths), samples, gradient, partial, grad_inputs, grad_weights});
}

}  // namespace

void bind_mlp(nanobind::module_& m) {
  m.def("mlp", &mlp);
  m.def("mlp_backward", &mlp_backward);
}

}  // namespace avatar
