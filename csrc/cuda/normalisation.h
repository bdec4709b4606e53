// Local response normalisation of one pixel, for the kernels that normalise.
//
// Every path sums squares in the order of the channels by fused multiply-add and takes the same
// power of the scale, so that all of them, alone or fused with pooling, give the same bits.
#pragma once

#include <cmath>

#include "cuda/platform.h"
#include "cuda/vectors.h"
#include "shapes.h"

namespace goturn::cuda {

// LrnShape as kernels take it.
struct Normalisation {
  std::int64_t pixels;  // of all images
  std::int64_t channels;
  std::int64_t half;      // channels on each side
  float factor;           // alpha / size
  float gradient_factor;  // 2 alpha beta / size
  float beta;
  float k;
};

inline Normalisation normalisation_of(const LrnShape& shape, std::int64_t pixels) {
  const double twice = 2.0 * static_cast<double>(shape.alpha) * static_cast<double>(shape.beta);
  return {pixels,
          shape.channels,
          shape.size / 2 < shape.channels ? shape.size / 2 : shape.channels,
          shape.alpha / static_cast<float>(shape.size),
          static_cast<float>(twice / static_cast<double>(shape.size)),
          shape.beta,
          shape.k};
}

// The network's window: two channels on each side.
inline constexpr int kNetworkHalf = 2;
// Zeros before and after a pixel's channels in shared memory, at least kNetworkHalf and such that
// the channels are aligned.
inline constexpr int kMargin = 4;

// k + alpha / size * sum.
__device__ __forceinline__ float scale_of(const Normalisation& norm, float sum) {
  return fmaf(norm.factor, sum, norm.k);
}

// scale ^ -beta.  For the network's 0.75 with PTX's bounds, 2^-22.9 for the reciprocal root and
// half a unit for the root: (2.1 + (1.1 + 1) + 1) 2^-24, better than powf.
__device__ __forceinline__ float power_of(const Normalisation& norm, float scale) {
  if (norm.beta == 0.75F) {
    const float root = rsqrtf(scale);
    return root * sqrtf(root);
  }
  return powf(scale, -norm.beta);
}

// Normalises kCount channels that this thread holds, of the network's window.  `row` is the pixel's
// channels in shared memory, between margins of zeros; `at` this thread's first in it.
template <int kCount>
__device__ __forceinline__ void normalise(const Normalisation& norm, const Shared<float>& row,
                                          int at, float (&values)[kCount]) {
  static_assert(kCount % 4 == 0 && kMargin == 4);
  const auto left = row.load<float4>(at - kMargin);
  const auto right = row.load<float4>(at + kCount);
  float about[kCount + 2 * kNetworkHalf];
  about[0] = left.z;
  about[1] = left.w;
#pragma unroll
  for (int i = 0; i < kCount; ++i) about[i + kNetworkHalf] = values[i];
  about[kCount + 2] = right.x;
  about[kCount + 3] = right.y;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    float sum = 0.0F;
#pragma unroll
    for (int j = 0; j <= 2 * kNetworkHalf; ++j) sum = fmaf(about[i + j], about[i + j], sum);
    values[i] *= power_of(norm, scale_of(norm, sum));
  }
}

// Puts this thread's kCount channels into `row`, and zeros into the margins.
template <int kCount>
__device__ __forceinline__ void share(const Shared<float>& row, int at, int channels,
                                      const float (&values)[kCount]) {
  static_assert(kCount % 4 == 0 && kMargin == 4);
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    row.store(at + i, make_float4(values[i], values[i + 1], values[i + 2], values[i + 3]));
  }
  const float4 zeros = make_float4(0.0F, 0.0F, 0.0F, 0.0F);
  if (at == kMargin) row.store(0, zeros);
  if (at + kCount == kMargin + channels) row.store(kMargin + channels, zeros);
}

// A block that normalises whole pixels of the network's window: x along channels, kCount each, y
// along pixels.
struct PixelBlock {
  static constexpr int kThreads = 128;

  // Whether a block can hold the channels of a pixel.
  static bool fits(const Normalisation& norm, int count) {
    return norm.half == kNetworkHalf && norm.channels % count == 0 &&
           norm.channels / count <= kThreads;
  }
  PixelBlock(const Normalisation& norm, int count)
      : block(static_cast<unsigned>(norm.channels / count),
              kThreads / static_cast<unsigned>(norm.channels / count)),
        shared_values(static_cast<int>(block.y) * pitch(static_cast<int>(norm.channels))) {}

  __host__ __device__ static constexpr int pitch(int channels) { return channels + 2 * kMargin; }

  dim3 block;
  int shared_values;
};

// The body of a kernel over a grid of PixelBlocks: each thread loads its channels of a pixel by
// load(pixel, channel, values), and stores them normalised to y.
template <int kCount, class T, class Load>
__device__ __forceinline__ void normalise_pixels(const Normalisation& norm, const Load& load,
                                                 T* y) {
  SharedMemory memory;
  const int channels = static_cast<int>(norm.channels);
  const int pitch = PixelBlock::pitch(channels);
  const Shared<float> rows = memory.take<float>(static_cast<int>(blockDim.y) * pitch);
  const Shared<float> row = rows + static_cast<int>(threadIdx.y) * pitch;
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int channel = static_cast<int>(threadIdx.x) * kCount;
  const std::int64_t pixel = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  const bool inside = pixel < norm.pixels;
  float values[kCount] = {};
  if (inside) load(pixel, channel, values);
  share(row, kMargin + channel, channels, values);
  __syncthreads();
  normalise(norm, row, kMargin + channel, values);
  if (inside) store_vector(values, y + pixel * channels + channel);
}

}  // namespace goturn::cuda
