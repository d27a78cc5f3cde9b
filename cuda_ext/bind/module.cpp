// The Python module: bind/ is the only folder that knows Python. Shapes, types and devices were checked there.
#include "../cpu/kernels.h"
#include "../cpu/pool.h"
#include "../cuda/kernels.h"
#include "arrays.h"

NB_MODULE(AVATAR_MODULE, m) {
  using namespace avatar;
  nanobind::set_leak_warnings(false);  // a graph that is alive at exit is no leak
  m.def("set_threads", &set_threads);
  m.def("get_threads", &get_threads);
  m.def("isa", &isa);
  m.def("cuda_architectures", &cuda_architectures);
  bind_splat(m);
  bind_image(m);
  bind_compose(m);
  bind_deform(m);
  bind_place(m);
  bind_field(m);
  bind_mlp(m);
  bind_convolve(m);
}
