// A drawn frame over its plate, as bright as it was filmed, beside the truth: what a training step compares.
#pragma once
#include "hd.h"

namespace avatar {

constexpr int kComposeSums = 7;  // of each block or row: plain times truth and plain squared a channel, the matte's error
constexpr int kBlobs = 3;        // about the mouth and the eyes

struct Compose {
  const float* rgb;         // [3,S,S] premultiplied
  const float* alpha;       // [1,S,S]
  const float* plate;       // [3,S,S]
  const uint8_t* picture;   // [4,S,S] red, green, blue, matte
  const float* blobs;       // [3,2,S] across and down
  const float* weights;     // [3] in the middle of each blob
  const float* exposure;    // [T+1,4] log of gains and whether they are known; last their sums
  const int64_t* frame;     // [1]
  int64_t frames;           // T
  int size;
  float* image;             // [3,S,S]
  float* truth;             // [3,S,S]
  float* weight;            // [1,S,S]
  float* gain;              // [3]
  double* partial;          // [blocks or rows, kComposeSums]
  double* sums;             // [kComposeSums], the last the mean of the matte's error
};

struct ComposeBackward {
  const float* alpha;       // [1,S,S]
  const float* plate;       // [3,S,S]
  const uint8_t* picture;   // [4,S,S]
  const float* gain;        // [3]
  int size;
  const float* grad_image;  // [3,S,S]
  const float* grad_matte;  // [1]
  float* grad_rgb;          // [3,S,S]
  float* grad_alpha;        // [1,S,S]
};

struct UpdateExposure {
  float* exposure;          // [T+1,4] in place
  const int64_t* frame;     // [1]
  int64_t frames;
  const double* sums;       // [kComposeSums]
  const float* fitted;      // [1] 1, or 0: nothing changes
  float rate, most;         // of the way to the best gain; largest log
};

constexpr float kByte = 1.0f / 255;

// Over all frames that are known the mean of a gain's log is 0; one that is not known has gain 1.
HD float gain_log(const float* own, const float* sums, int channel) {
  const float count = sums[3] > 1.0f ? sums[3] : 1.0f;
  return own[3] * (own[channel] - sums[channel] / count);
}

HD float sign_of(float x) { return x > 0 ? 1.0f : (x < 0 ? -1.0f : 0.0f); }

// Least squares for each channel: the gain that makes the drawn frame as bright as the truth.
template <class Log>
HD void update_gains(const UpdateExposure& args, Log log_of) {
  float target[3];
  bool usable = *args.fitted > 0;
  for (int c = 0; c < 3; ++c) {
    const double square = args.sums[3 + c] > 1e-6 ? args.sums[3 + c] : 1e-6;
    const float best = static_cast<float>(args.sums[c] / square);
    usable = usable && !not_finite(best);
    target[c] = clamp(log_of(best > 1e-6f ? best : 1e-6f), -args.most, args.most);
  }
  if (!usable) return;
  float *own = args.exposure + 4 * *args.frame, *all = args.exposure + 4 * args.frames;
  for (int c = 0; c < 3; ++c) {
    const float step = args.rate * (target[c] - own[c]);
    own[c] += step;
    all[c] += step;
  }
  all[3] += 1.0f - own[3];
  own[3] = 1.0f;
}

}  // namespace avatar
