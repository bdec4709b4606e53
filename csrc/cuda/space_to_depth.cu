// Crops as the first convolution takes them: blocks of pixels become channels.
//
// A thread writes one channel of one block; a warp's writes lie together, and its reads are within
// a few rows of the crop, which the caches hold.  1.2 MB a crop in float: crop_resize writes this
// layout itself where it can, so that this kernel is for crops that come from elsewhere.

#include "cuda/numbers.h"
#include "cuda/ops.h"
#include "cuda/platform.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void space_to_depth_kernel(int size, int block, int blocks, int channels,
                                      std::int64_t count, const float* crops, T* y) {
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= count) return;
  const int channel = static_cast<int>(index % channels);
  const std::int64_t position = index / channels;
  const int column = static_cast<int>(position % blocks) * block + channel / 3 % block;
  const int row = static_cast<int>(position / blocks % blocks) * block + channel / 3 / block;
  const std::int64_t crop = position / blocks / blocks;
  const bool there = channel < 3 * block * block && row < size && column < size;
  const std::int64_t from = ((crop * 3 + channel % 3) * size + row) * size + column;
  y[index] = from_float<T>(there ? crops[from] : 0.0F);
}

}  // namespace

void space_to_depth(std::int64_t count, std::int64_t size, const float* crops,
                    const CropLayout& layout, void* y, Stream stream) {
  const std::int64_t blocks = (size + layout.block - 1) / layout.block;
  const std::int64_t values = count * blocks * blocks * layout.channels;
  if (values == 0) return;
  const Launch how{dim3(static_cast<unsigned>((values + kThreads - 1) / kThreads)), dim3(kThreads)};
  dispatch(layout.type, [&](auto zero) {
    using T = decltype(zero);
    launch("space_to_depth", space_to_depth_kernel<T>, how, stream, static_cast<int>(size),
           layout.block, static_cast<int>(blocks), layout.channels, values, crops,
           static_cast<T*>(y));
  });
}

}  // namespace goturn::cuda
