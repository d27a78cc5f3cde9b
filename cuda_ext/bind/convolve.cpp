#include "../cpu/kernels.h"
#include "arrays.h"

namespace avatar {
namespace {

// On the CPU alone: a GPU's convolutions are torch's.
void convolve(In inputs, In scale, In shift, Address<const uint32_t> weights, In bias, In added, int64_t batch,
              int64_t rows, int64_t in, int64_t out, int64_t outputs, int taps, int dilation, int stride, int left,
              bool gelu, Out to, Stream) {
  nanobind::gil_scoped_release unlocked;
  cpu::convolve({inputs, scale, shift, weights, bias, added, batch, rows, in, out, outputs, taps, dilation,
                 stride, left, gelu, to});
}

}  // namespace

void bind_convolve(nanobind::module_& m) { m.def("convolve", &convolve); }

}  // namespace avatar
