// The CPU kernels: one name for callers, one copy for each instruction set.
#pragma once
#include "../include/compose.h"
#include "../include/convolve.h"
#include "../include/deform.h"
#include "../include/field.h"
#include "../include/image.h"
#include "../include/mlp.h"
#include "../include/place.h"
#include "../include/splat.h"

#define AVATAR_KERNELS(X)                      \
  X(splat_forward, SplatForward)               \
  X(splat_backward, SplatBackward)             \
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
  X(composite_backward, CompositeBackward)     \
  X(mlp, Mlp)                                  \
  X(mlp_backward, MlpBackward)                 \
  X(convolve, Convolve)

#define AVATAR_DECLARE(name, Args) void name(const Args& args);
namespace avatar {
namespace generic { AVATAR_KERNELS(AVATAR_DECLARE) }
namespace v2 { AVATAR_KERNELS(AVATAR_DECLARE) }
namespace v3 { AVATAR_KERNELS(AVATAR_DECLARE) }
namespace v4 { AVATAR_KERNELS(AVATAR_DECLARE) }
namespace cpu { AVATAR_KERNELS(AVATAR_DECLARE) }
const char* isa();
}  // namespace avatar
#undef AVATAR_DECLARE
