// The GPU kernels, launched on the given stream without waiting for it. absent.cpp stands in where nvcc was missing.
#pragma once
#include "../include/compose.h"
#include "../include/deform.h"
#include "../include/field.h"
#include "../include/image.h"
#include "../include/place.h"
#include "../include/splat_gpu.h"

#define AVATAR_CUDA_KERNELS(X)                 \
  X(splat_forward, SplatForwardGpu)            \
  X(splat_backward, SplatBackwardGpu)          \
  X(photo_moments, PhotoMoments)               \
  X(photo_error, PhotoError)                   \
  X(to_bytes, ToBytes)                         \
  X(to_nv12, ToNv12)                           \
  X(compose, Compose)                          \
  X(compose_backward, ComposeBackward)         \
  X(update_exposure, UpdateExposure)           \
  X(deform, Deform)                            \
  X(deform_coefficients, DeformCoefficients)   \
  X(deform_adam, DeformAdam)                   \
  X(deform_int8, DeformInt8)                   \
  X(place, Place)                              \
  X(place_backward, PlaceBackward)             \
  X(hash_grid, HashGrid)                       \
  X(hash_grid_backward, HashGridBackward)      \
  X(march_count, March)                        \
  X(march_fill, March)                         \
  X(composite, Composite)                      \
  X(composite_backward, CompositeBackward)

namespace avatar {
#define AVATAR_DECLARE(name, Args) void name(const Args& args, void* stream);
namespace cuda { AVATAR_CUDA_KERNELS(AVATAR_DECLARE) }
#undef AVATAR_DECLARE
const char* cuda_architectures();
}  // namespace avatar
