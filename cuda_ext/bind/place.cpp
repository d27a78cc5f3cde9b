#include "../cpu/kernels.h"
#include "../cuda/kernels.h"
#include "arrays.h"

namespace avatar {
namespace {

struct Pose {
  In rotation, translation, rest_rotation, rest_translation, torso, focals;
};

PlaceInputs inputs(In means, In quaternions, In rigidity, const Pose& pose, float focal, int64_t count, int64_t batch,
                   int64_t stride, int64_t own) {
  return {means, quaternions, rigidity, pose.rotation, pose.translation, pose.rest_rotation, pose.rest_translation,
          pose.torso, pose.focals, focal, count, batch, stride, own};
}

void place(In means, In quaternions, In rigidity, In rotation, In translation, In rest_rotation, In rest_translation,
           In torso, In focals, float focal, int64_t count, int64_t batch, int64_t stride, int64_t own, Out out_means,
           Out out_quaternions, Stream stream) {
  const Pose pose{rotation, translation, rest_rotation, rest_translation, torso, focals};
  run(cpu::place, cuda::place,
      {inputs(means, quaternions, rigidity, pose, focal, count, batch, stride, own), out_means, out_quaternions}, batch,
      stream);
}

void place_backward(In means, In quaternions, In rigidity, In rotation, In translation, In rest_rotation,
                    In rest_translation, In torso, In focals, float focal, int64_t count, int64_t batch, int64_t stride,
                    int64_t own, In grad_out_means, In grad_out_quaternions, Out partial, Out grad_means,
                    Out grad_quaternions, Out grad_rigidity, Out grad_rotation, Out grad_translation, Stream stream) {
  const Pose pose{rotation, translation, rest_rotation, rest_translation, torso, focals};
  run(cpu::place_backward, cuda::place_backward,
      {inputs(means, quaternions, rigidity, pose, focal, count, batch, stride, own), grad_out_means,
       grad_out_quaternions, partial, grad_means, grad_quaternions, grad_rigidity, grad_rotation, grad_translation},
      batch, stream);
}

}  // namespace

void bind_place(nanobind::module_& m) {
  m.def("place", &place);
  m.def("place_backward", &place_backward);
}

}  // namespace avatar
