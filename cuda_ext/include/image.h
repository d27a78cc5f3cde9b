// Pictures: photometric error with its gradient, and bytes for the screen.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int kWindow = 11;  // SSIM: Gaussian window, sigma 1.5, zero padding

struct PhotoError {
  const float* image;   // [3,S,S]
  const float* target;  // [3,S,S]
  const float* weight;  // [1,S,S]
  int size;
  float ssim_weight;
  float* workspace;     // [9,S,S]
  double* sums;         // [3,S]
  float* gradient;      // [3,S,S]
  double* error;        // one value
};

struct ToBytes {
  const float* rgb;           // [3,S,S] premultiplied
  const float* alpha;         // [1,S,S]
  const uint8_t* background;  // [S,S,3]
  int size;
  uint8_t* bytes;             // [S,S,3]
};

}  // namespace avatar
