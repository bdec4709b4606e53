// Max pooling in NHWC, forward and backward.  Threads lie along channels, 16 bytes each where
// channels allow.
//
// Forward reads each pixel up to (kernel / stride)^2 times, of which all but the first come from
// the caches; pool1 of two crops in half precision moves 1.4 MB, below a microsecond.  Backward
// gathers: an input pixel looks at the windows that contain it and takes the gradient of those
// whose first maximum it is, in row-major order of the windows, so that no two threads add to one
// value.

#include <algorithm>
#include <cmath>

#include "cuda/grid.h"
#include "cuda/ops.h"
#include "cuda/pooling.h"
#include "cuda/vectors.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kNetworkKernel = 3;

// A block for `vectors` of each of some pixels: x along channels, y along pixels.
dim3 block_of(std::int64_t vectors) {
  const auto along = static_cast<unsigned>(std::min<std::int64_t>(vectors, kThreads));
  return dim3(along, kThreads / along);
}

// The first pixel of this thread, and the way to its next.
__device__ __forceinline__ std::int64_t first_pixel() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
}
__device__ __forceinline__ std::int64_t next_pixel() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.y;
}

template <int kKernel, int kCount, class T>
__global__ void pool_to_nhwc(Pooling pool, const T* x, T* y) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const std::int64_t pixels = pool.batch * pool.rows * pool.columns;
  for (std::int64_t pixel = first_pixel(); pixel < pixels; pixel += next_pixel()) {
    for (std::int64_t channel = threadIdx.x * kCount; channel < pool.channels;
         channel += blockDim.x * kCount) {
      float maximum[kCount];
      pool_window<kKernel>(pool, x, pixel, channel, maximum);
      store_vector(maximum, y + pixel * pool.channels + channel);
    }
  }
}

// Pixels and channels that a block turns round at a time.
constexpr int kTilePixels = 64;
constexpr int kTileChannels = 32;
constexpr int kTilePitch = kTileChannels + 1;  // so that a column of the tile is in 32 banks

// To planes: a tile is pooled with threads along channels and written with threads along pixels.
template <int kKernel, int kCount, class T>
__global__ void pool_to_nchw(Pooling pool, const T* x, float* y) {
  GOTURN_SHARED(float, tile, kTilePixels* kTilePitch);
  wait_for_previous_kernel();
  let_next_kernel_start();
  const std::int64_t area = pool.rows * pool.columns;
  const std::int64_t tiles = divide_up(area, kTilePixels);
  const std::int64_t slabs = divide_up(pool.channels, kTileChannels);
  for (std::int64_t task = blockIdx.x; task < pool.batch * slabs * tiles; task += gridDim.x) {
    const std::int64_t first_pixel = task % tiles * kTilePixels;
    const std::int64_t first_channel = task / tiles % slabs * kTileChannels;
    const std::int64_t image = task / tiles / slabs;
    const std::int64_t pixels_left = area - first_pixel;
    const std::int64_t channels_left = pool.channels - first_channel;
    const int pixels = static_cast<int>(pixels_left < kTilePixels ? pixels_left : kTilePixels);
    const int channels =
        static_cast<int>(channels_left < kTileChannels ? channels_left : kTileChannels);
    constexpr int kVectors = kTileChannels / kCount;
    for (int i = static_cast<int>(threadIdx.x); i < pixels * kVectors; i += kThreads) {
      const int pixel = i / kVectors;
      const int channel = i % kVectors * kCount;
      if (channel >= channels) continue;
      float maximum[kCount];
      pool_window<kKernel>(pool, x, image * area + first_pixel + pixel, first_channel + channel,
                           maximum);
#pragma unroll
      for (int j = 0; j < kCount; ++j) tile[pixel * kTilePitch + channel + j] = maximum[j];
    }
    __syncthreads();
    float* to = y + (image * pool.channels + first_channel) * area + first_pixel;
    for (int i = static_cast<int>(threadIdx.x); i < pixels * channels; i += kThreads) {
      const int channel = i / pixels;
      const int pixel = i - channel * pixels;
      to[channel * area + pixel] = tile[pixel * kTilePitch + channel];
    }
    __syncthreads();
  }
}

template <int kKernel, int kCount, class T>
void launch_pool(const Pooling& pool, const T* x, PoolOutput output, void* y, Stream stream) {
  const std::int64_t area = pool.rows * pool.columns;
  Launch how;
  how.overlap_previous = true;
  if (output == PoolOutput::nhwc) {
    how.block = block_of(pool.channels / kCount);
    how.grid = dim3(blocks_for(pool.batch * area, how.block.y));
    launch("max_pool", pool_to_nhwc<kKernel, kCount, T>, how, stream, pool, x, static_cast<T*>(y));
  } else {
    const std::int64_t tasks =
        pool.batch * divide_up(pool.channels, kTileChannels) * divide_up(area, kTilePixels);
    how.block = dim3(kThreads);
    how.grid = dim3(blocks_for(tasks, 1));
    launch("max_pool", pool_to_nchw<kKernel, kCount, T>, how, stream, pool, x,
           static_cast<float*>(y));
  }
}

template <int kKernel, class T>
void choose_vectors(const Pooling& pool, const T* x, PoolOutput output, void* y, Stream stream) {
  if (pool.channels % kVector<T> == 0 && aligned16(x, y)) {
    launch_pool<kKernel, kVector<T>>(pool, x, output, y, stream);
  } else {
    launch_pool<kKernel, 1>(pool, x, output, y, stream);
  }
}

// The gradient that channel `i` of a window's output has, at y's pixel number `output` of `image`.
__device__ __forceinline__ std::int64_t gradient_offset(const Pooling& pool, PoolOutput layout,
                                                        std::int64_t image, std::int64_t output,
                                                        std::int64_t channel) {
  const std::int64_t area = pool.rows * pool.columns;
  return layout == PoolOutput::nhwc ? (image * area + output) * pool.channels + channel
                                    : (image * pool.channels + channel) * area + output;
}

// Windows that contain position `at` of an axis.
__device__ __forceinline__ Span windows_about(const Pooling& pool, std::int64_t at,
                                              std::int64_t count) {
  const std::int64_t reach = at + pool.pad;
  const std::int64_t before = reach - pool.kernel;  // the last position that is too early to start
  const std::int64_t first = before < 0 ? 0 : before / pool.stride + 1;
  const std::int64_t last = reach / pool.stride + 1;
  return {first, last < count ? last : count};
}

template <int kCount>
__global__ void pool_backward(Pooling pool, PoolOutput layout, const float* dy, const float* x,
                              float* dx) {
  const std::int64_t pixels = pool.batch * pool.height * pool.width;
  for (std::int64_t pixel = first_pixel(); pixel < pixels; pixel += next_pixel()) {
    const std::int64_t image_row = pixel / pool.width;
    const std::int64_t image = image_row / pool.height;
    const std::int64_t row = image_row - image * pool.height;
    const std::int64_t column = pixel - image_row * pool.width;
    const Span down = windows_about(pool, row, pool.rows);
    const Span across = windows_about(pool, column, pool.columns);
    for (std::int64_t channel = threadIdx.x * kCount; channel < pool.channels;
         channel += blockDim.x * kCount) {
      float own[kCount];
      load_vector(x + pixel * pool.channels + channel, own);
      float sum[kCount] = {};
      for (std::int64_t p = down.first; p < down.last; ++p) {
        const Span vertical = window_of(pool, p, pool.height);
        for (std::int64_t q = across.first; q < across.last; ++q) {
          const Span horizontal = window_of(pool, q, pool.width);
          bool first_maximum[kCount];  // false where there is a NaN, as every comparison with it is
#pragma unroll
          for (int i = 0; i < kCount; ++i) first_maximum[i] = true;
          for (std::int64_t r = vertical.first; r < vertical.last; ++r) {
            const float* from = x + row_offset(pool, image, r) + channel;
            for (std::int64_t s = horizontal.first; s < horizontal.last; ++s) {
              float other[kCount];
              load_vector(from + s * pool.channels, other);
              const bool earlier = r < row || (r == row && s < column);
#pragma unroll
              for (int i = 0; i < kCount; ++i) {
                const bool stays = earlier ? other[i] < own[i] : other[i] <= own[i];
                first_maximum[i] = first_maximum[i] && stays;
              }
            }
          }
#pragma unroll
          for (int i = 0; i < kCount; ++i) {
            if (!first_maximum[i]) continue;
            sum[i] += dy[gradient_offset(pool, layout, image, p * pool.columns + q, channel + i)];
          }
        }
      }
      store_vector(sum, dx + pixel * pool.channels + channel);
    }
  }
}

template <int kCount>
void launch_backward(const Pooling& pool, PoolOutput layout, const float* dy, const float* x,
                     float* dx, Stream stream) {
  Launch how;
  how.block = block_of(pool.channels / kCount);
  how.grid = dim3(blocks_for(pool.batch * pool.height * pool.width, how.block.y));
  launch("max_pool_backward", pool_backward<kCount>, how, stream, pool, layout, dy, x, dx);
}

}  // namespace

void max_pool(const PoolShape& shape, Type type, const void* x, PoolOutput output, void* y,
              Stream stream) {
  if (shape.batch == 0 || shape.channels == 0) return;
  const Pooling pool = pooling_of(shape);
  // An image without pixels has windows all the same, in its padding.
  const bool empty = shape.height == 0 || shape.width == 0;
  dispatch(type, [&](auto zero) {
    const auto* from = static_cast<const decltype(zero)*>(x);
    if (shape.kernel == kNetworkKernel && !empty) {
      choose_vectors<kNetworkKernel>(pool, from, output, y, stream);
    } else {
      choose_vectors<0>(pool, from, output, y, stream);
    }
  });
}

void max_pool_backward(const PoolShape& shape, PoolOutput output, const float* dy, const float* x,
                       float* dx, Stream stream) {
  if (shape.batch * shape.height * shape.width * shape.channels == 0) return;
  const Pooling pool = pooling_of(shape);
  if (pool.channels % kVector<float> == 0 && aligned16(x, dx)) {
    launch_backward<kVector<float>>(pool, output, dy, x, dx, stream);
  } else {
    launch_backward<1>(pool, output, dy, x, dx, stream);
  }
}

}  // namespace goturn::cuda
