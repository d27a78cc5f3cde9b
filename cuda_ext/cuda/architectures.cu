// What the kernels were compiled for, for `avatar doctor`.
#include "kernels.h"

const char* avatar::cuda_architectures() { return AVATAR_CUDA_ARCHITECTURES; }
