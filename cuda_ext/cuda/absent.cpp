// A build without nvcc: everything imports, and using a GPU says what is missing.
#include <stdexcept>

#include "kernels.h"

namespace avatar {

const char* cuda_architectures() { return ""; }

#define AVATAR_ABSENT(name, Args)                                                                                \
  void cuda::name(const Args&, void*) {                                                                          \
    throw std::runtime_error(#name ": the native ops were built without CUDA; install nvcc and build them anew, " \
                             "or keep the tensors on the CPU");                                                  \
  }

AVATAR_CUDA_KERNELS(AVATAR_ABSENT)

}  // namespace avatar
