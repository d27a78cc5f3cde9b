// Splats from the head frame into the camera frame on a GPU, and back.
#include "device.h"

namespace avatar {
namespace {

KERNEL place_kernel(Place batch) {
  SHARED Frames frames;
  const Place args = frame_of(batch, blockIdx.y);
  if (threadIdx.x == 0) frames = frames_of(args.in);
  __syncthreads();
  const int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (n < args.in.count) place_splat(args, frames, n);
}

KERNEL place_vjp_kernel(PlaceBackward batch) {
  SHARED Frames frames;
  SHARED float totals[kWarp];
  const PlaceBackward args = frame_of(batch, blockIdx.y);
  if (threadIdx.x == 0) frames = frames_of(args.in);
  __syncthreads();
  float sums[kPoseSums] = {};
  const int64_t begin = blockIdx.x * kPlaceBlock;
  const int64_t end = begin + kPlaceBlock < args.in.count ? begin + kPlaceBlock : args.in.count;
  for (int64_t n = begin + threadIdx.x; n < end; n += blockDim.x) place_vjp(args, frames, n, sums);
  for (int i = 0; i < kPoseSums; ++i) {
    const float sum = block_sum(sums[i], totals);
    if (threadIdx.x == 0) args.partial[blockIdx.x * kPoseSums + i] = sum;
  }
}

KERNEL pose_kernel(PlaceBackward batch) {
  SHARED float totals[kPoseSums];
  const PlaceBackward args = frame_of(batch, blockIdx.x);
  if (threadIdx.x < kPoseSums) {
    double sum = 0;
    for (int64_t block = 0; block < place_blocks(args.in.count); ++block)
      sum += args.partial[block * kPoseSums + threadIdx.x];
    totals[threadIdx.x] = static_cast<float>(sum);
  }
  __syncthreads();
  if (threadIdx.x == 0) pose_vjp(args, totals);
}

}  // namespace

void cuda::place(const Place& args, void* stream) {
  const unsigned frames = static_cast<unsigned>(args.in.batch);
  launch(stream, dim3(blocks_for(args.in.count, kThreads), frames), kThreads, place_kernel, args);
}

void cuda::place_backward(const PlaceBackward& args, void* stream) {
  const unsigned frames = static_cast<unsigned>(args.in.batch);
  const unsigned blocks = static_cast<unsigned>(place_blocks(args.in.count));
  launch(stream, dim3(blocks, frames), kThreads, place_vjp_kernel, args);
  launch(stream, dim3(frames), kWarp, pose_kernel, args);
}

}  // namespace avatar
