// What treats each value by itself: ReLU, dropout, sums and copies of arrays.

#include "cuda/each.h"
#include "cuda/ops.h"

namespace goturn::cuda {
namespace {

struct Relu {
  const float* x;
  float* y;

  template <int kCount>
  __device__ void at(std::int64_t first) const {
    float values[kCount];
    load_vector(x + first, values);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = values[i] <= 0.0F ? 0.0F : values[i];
    store_vector(values, y + first);
  }
};

struct ReluBackward {
  const float* dy;
  const float* y;
  float* dx;

  template <int kCount>
  __device__ void at(std::int64_t first) const {
    float gradient[kCount], output[kCount];
    load_vector(dy + first, gradient);
    load_vector(y + first, output);
#pragma unroll
    for (int i = 0; i < kCount; ++i) gradient[i] = output[i] > 0.0F ? gradient[i] : 0.0F;
    store_vector(gradient, dx + first);
  }
};

// Output number i + 1 of SplitMix64 from `key`.
__device__ __forceinline__ std::uint64_t split_mix(std::uint64_t key, std::int64_t i) {
  std::uint64_t z = key + (static_cast<std::uint64_t>(i) + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31);
}

struct Mask {
  std::uint64_t threshold;
  const std::uint64_t* key;
  std::uint8_t* mask;

  template <int kCount>
  __device__ void at(std::int64_t first) const {
    const std::uint64_t from = *key;
    Packed<std::uint8_t, kCount> kept;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      kept.values[i] = (split_mix(from, first + i) >> 32) >= threshold ? 1 : 0;
    }
    *reinterpret_cast<Packed<std::uint8_t, kCount>*>(mask + first) = kept;
  }
};

struct Drop {
  const float* x;
  const std::uint8_t* mask;
  float kept;
  float* y;

  template <int kCount>
  __device__ void at(std::int64_t first) const {
    float values[kCount];
    load_vector(x + first, values);
    const auto keeps = *reinterpret_cast<const Packed<std::uint8_t, kCount>*>(mask + first);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      values[i] = values[i] * static_cast<float>(keeps.values[i]) / kept;
    }
    store_vector(values, y + first);
  }
};

struct Add {
  const float* x;
  float* y;

  template <int kCount>
  __device__ void at(std::int64_t first) const {
    float term[kCount], sum[kCount];
    load_vector(x + first, term);
    load_vector(y + first, sum);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sum[i] += term[i];
    store_vector(sum, y + first);
  }
};

constexpr int kCopyThreads = 256;

// Blocks along x for a row's columns, along y for rows.
template <int kCount>
__global__ void copy(std::int64_t rows, std::int64_t columns, const float* x, std::int64_t x_stride,
                     float factor, float* y, std::int64_t y_stride) {
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    for (std::int64_t column = first_piece() * kCount; column < columns;
         column += next_piece() * kCount) {
      float values[kCount];
      load_vector(x + row * x_stride + column, values);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] *= factor;
      store_vector(values, y + row * y_stride + column);
    }
  }
}

}  // namespace

void relu(std::int64_t count, const float* x, float* y, Stream stream) {
  for_each_value("relu", count, aligned16(x, y), Relu{x, y}, stream);
}

void relu_backward(std::int64_t count, const float* dy, const float* y, float* dx, Stream stream) {
  for_each_value("relu_backward", count, aligned16(dy, y, dx), ReluBackward{dy, y, dx}, stream);
}

void dropout_mask(std::int64_t count, std::uint64_t threshold, const std::uint64_t* key,
                  std::uint8_t* mask, Stream stream) {
  for_each_value("dropout_mask", count, aligned16(mask), Mask{threshold, key, mask}, stream);
}

void dropout(std::int64_t count, const float* x, const std::uint8_t* mask, float kept, float* y,
             Stream stream) {
  for_each_value("dropout", count, aligned16(x, mask, y), Drop{x, mask, kept, y}, stream);
}

void add(std::int64_t count, const float* x, float* y, Stream stream) {
  for_each_value("add", count, aligned16(x, y), Add{x, y}, stream);
}

void copy_rows(std::int64_t rows, std::int64_t columns, const float* x, std::int64_t x_stride,
               float factor, float* y, std::int64_t y_stride, Stream stream) {
  if (rows == 0 || columns == 0) return;
  constexpr int kCount = kVector<float>;
  constexpr std::int64_t kMostRows = 65535;  // of a grid
  const bool whole = columns % kCount == 0 && x_stride % kCount == 0 && y_stride % kCount == 0;
  const bool vectors = whole && aligned16(x, y);
  Launch how;
  how.block = dim3(kCopyThreads);
  how.grid = dim3(blocks_for(vectors ? columns / kCount : columns, kCopyThreads),
                  static_cast<unsigned>(std::min(rows, kMostRows)));
  launch("copy_rows", vectors ? copy<kCount> : copy<1>, how, stream, rows, columns, x, x_stride,
         factor, y, y_stride);
}

}  // namespace goturn::cuda
