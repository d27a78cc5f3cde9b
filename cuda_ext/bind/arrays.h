// What every binding needs: tensors come as addresses (checked in Python), the CUDA stream last, None for the CPU.
#pragma once
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>

#include <optional>

namespace avatar {

template <class T>
struct Address {
  T* at = nullptr;
  operator T*() const { return at; }
};

using In = Address<const float>;
using Out = Address<float>;
using Stream = std::optional<Address<void>>;

// Frames one after the other on the CPU, all at once on the GPU.
template <class Args>
void run(void (*on_cpu)(const Args&), void (*on_gpu)(const Args&, void*), const Args& args, int64_t batch,
         const Stream& stream) {
  nanobind::gil_scoped_release unlocked;
  if (stream) return on_gpu(args, *stream);
  for (int64_t frame = 0; frame < batch; ++frame) on_cpu(frame_of(args, frame));
}

template <class Args>
void run(void (*on_cpu)(const Args&), void (*on_gpu)(const Args&, void*), const Args& args, const Stream& stream) {
  nanobind::gil_scoped_release unlocked;
  if (stream) return on_gpu(args, *stream);
  on_cpu(args);
}

void bind_splat(nanobind::module_& m);
void bind_image(nanobind::module_& m);
void bind_compose(nanobind::module_& m);
void bind_deform(nanobind::module_& m);
void bind_place(nanobind::module_& m);
void bind_field(nanobind::module_& m);
void bind_mlp(nanobind::module_& m);
void bind_convolve(nanobind::module_& m);

}  // namespace avatar

namespace nanobind::detail {

template <class T>
struct type_caster<avatar::Address<T>> {
  NB_TYPE_CASTER(avatar::Address<T>, const_name("int"))

  bool from_python(handle source, uint8_t, cleanup_list*) noexcept {
    if (!PyLong_CheckExact(source.ptr())) return false;
    value.at = static_cast<T*>(PyLong_AsVoidPtr(source.ptr()));
    if (!PyErr_Occurred()) return true;
    PyErr_Clear();
    return false;
  }
};

}  // namespace nanobind::detail
