// Splats from the head frame into the camera frame, and back.
#include "../include/place.h"

#include "kernels.h"
#include "simd.h"

namespace avatar {
namespace ISA {

HD int64_t block_end(int64_t block, int64_t count) {
  const int64_t end = (block + 1) * kPlaceBlock;
  return end < count ? end : count;
}

void place(const Place& args) {
  const Frames f = frames_of(args.in);
  auto body = [&](int64_t block) {
    for (int64_t n = block * kPlaceBlock; n < block_end(block, args.in.count); ++n) place_splat(args, f, n);
  };
  parallel(place_blocks(args.in.count), body);
}

void place_backward(const PlaceBackward& args) {
  const Frames f = frames_of(args.in);
  const int64_t blocks = place_blocks(args.in.count);
  auto body = [&](int64_t block) {
    float sums[kPoseSums] = {};
    for (int64_t n = block * kPlaceBlock; n < block_end(block, args.in.count); ++n) place_vjp(args, f, n, sums);
    memcpy(args.partial + block * kPoseSums, sums, sizeof sums);
  };
  parallel(blocks, body);
  double sums[kPoseSums] = {};
  for (int64_t block = 0; block < blocks; ++block)
    for (int i = 0; i < kPoseSums; ++i) sums[i] += args.partial[block * kPoseSums + i];
  float total[kPoseSums];
  for (int i = 0; i < kPoseSums; ++i) total[i] = static_cast<float>(sums[i]);
  pose_vjp(args, total);
}

}  // namespace ISA
}  // namespace avatar
