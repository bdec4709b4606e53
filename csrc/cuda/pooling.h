// Windows of max pooling in an NHWC image, for the kernels that pool.
#pragma once

#include "cuda/grid.h"
#include "cuda/vectors.h"
#include "shapes.h"

namespace goturn::cuda {

// PoolShape with its output size, as kernels take it.
struct Pooling {
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t height;
  std::int64_t width;
  std::int64_t kernel;
  std::int64_t stride;
  std::int64_t pad;
  std::int64_t rows;  // of the output
  std::int64_t columns;
};

inline Pooling pooling_of(const PoolShape& shape) {
  return {shape.batch,  shape.channels, shape.height,       shape.width,      shape.kernel,
          shape.stride, shape.pad,      shape.out_height(), shape.out_width()};
}

// Positions [first, last) of an axis.
struct Span {
  std::int64_t first;
  std::int64_t last;
};

// What window number `index` sees of an axis; never empty.
__device__ __forceinline__ Span window_of(const Pooling& pool, std::int64_t index,
                                          std::int64_t extent) {
  const std::int64_t start = index * pool.stride - pool.pad;
  const std::int64_t end = start + pool.kernel;
  return {start < 0 ? 0 : start, end > extent ? extent : end};
}

// Offset of an image's row in values.
__device__ __forceinline__ std::int64_t row_offset(const Pooling& pool, std::int64_t image,
                                                   std::int64_t row) {
  return (image * pool.height + row) * pool.width * pool.channels;
}

// The larger of each pair, and a NaN if there is one.
template <int kCount>
__device__ __forceinline__ void keep_larger(const float (&values)[kCount],
                                            float (&maximum)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    const bool replaces = values[i] > maximum[i] || values[i] != values[i];
    maximum[i] = replaces ? values[i] : maximum[i];
  }
}

// The maximum of a window for kCount channels from `channel` on.  `output` counts the pixels of all
// images' outputs.  kKernel is the kernel if it is known when compiling, else 0.
template <int kKernel, class T, int kCount>
__device__ __forceinline__ void pool_window(const Pooling& pool, const T* x, std::int64_t output,
                                            std::int64_t channel, float (&maximum)[kCount]) {
  const std::int64_t output_row = output / pool.columns;
  const std::int64_t image = output_row / pool.rows;
  const std::int64_t p = output_row - image * pool.rows;
  const std::int64_t q = output - output_row * pool.columns;
  const Span vertical = window_of(pool, p, pool.height);
  const Span horizontal = window_of(pool, q, pool.width);
#pragma unroll
  for (int i = 0; i < kCount; ++i) maximum[i] = -INFINITY;
  if constexpr (kKernel > 0) {
    // All loads are under way before the first comparison.  Taps beyond the image read its last
    // row or column again, which is in the window and changes no maximum.
    Packed<T, kCount> taps[kKernel][kKernel];
#pragma unroll
    for (int r = 0; r < kKernel; ++r) {
      const std::int64_t row =
          vertical.first + r < vertical.last ? vertical.first + r : vertical.last - 1;
      const T* from = x + row_offset(pool, image, row) + channel;
#pragma unroll
      for (int s = 0; s < kKernel; ++s) {
        const std::int64_t column =
            horizontal.first + s < horizontal.last ? horizontal.first + s : horizontal.last - 1;
        taps[r][s] = *reinterpret_cast<const Packed<T, kCount>*>(from + column * pool.channels);
      }
    }
#pragma unroll
    for (int r = 0; r < kKernel; ++r) {
#pragma unroll
      for (int s = 0; s < kKernel; ++s) {
        float values[kCount];
#pragma unroll
        for (int i = 0; i < kCount; ++i) values[i] = to_float(taps[r][s].values[i]);
        keep_larger(values, maximum);
      }
    }
  } else {
    for (std::int64_t row = vertical.first; row < vertical.last; ++row) {
      const T* from = x + row_offset(pool, image, row) + channel;
      for (std::int64_t column = horizontal.first; column < horizontal.last; ++column) {
        float values[kCount];
        load_vector(from + column * pool.channels, values);
        keep_larger(values, maximum);
      }
    }
  }
}

}  // namespace goturn::cuda
