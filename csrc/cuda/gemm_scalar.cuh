// The engine of gemm.cuh on CUDA cores: any type of numbers, products and sums in float.
//
// A thread makes 8 x kThreadN values of C, a warp 32 x (8 kThreadN): 4 lanes down, 8 across.  It
// loads 4 values at a time, along k in Order::rows (4 k of one row, 2 where registers are few) and
// along the rows in Order::columns.  In Order::rows the lanes across read rows 4 apart, so the
// chunks of B are exchanged by row / 4 % 8; those of A by row % 8.
#pragma once

#include "cuda/gemm.cuh"

namespace goturn::cuda {

template <class T, class Tile, Order kOrder>
class CudaCores {
  static constexpr int kThreadM = 8;
  static constexpr int kThreadN = Tile::kWarpN / 8;
  static constexpr int kAlong = kThreadN > 8 ? 2 : 4;  // k at a time, in Order::rows
  static_assert(Tile::kWarpM == 32 && kThreadN % 4 == 0);

 public:
  static constexpr int kThreads = Tile::kThreads;
  static constexpr int kFours = kThreadM * kThreadN / 4;
  static constexpr int kRun = 4;

  __device__ __forceinline__ static int row_key_b(int row) { return row / 4 % 8; }

  __device__ __forceinline__ CudaCores() {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int down = lane / 8;
    first_m_ = warp / Tile::kWarpsN * 32 + (kOrder == Order::rows ? down : down * 4);
    first_n_ = warp % Tile::kWarpsN * Tile::kWarpN + lane % 8 * 4;
    clear();
  }

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int m = 0; m < kThreadM; ++m) {
#pragma unroll
      for (int n = 0; n < kThreadN; ++n) sums_[m][n] = 0.0F;
    }
  }
  __device__ __forceinline__ float* four(int i) {
    return sums_[i / (kThreadN / 4)] + i % (kThreadN / 4) * 4;
  }

  __device__ __forceinline__ void multiply(const Shared<T>& a, const Shared<T>& b) {
    if constexpr (kOrder == Order::rows) {
#pragma unroll 2
      for (int k = 0; k < kDepth<T>; k += kAlong) multiply_rows(a, b, k);
    } else {
#pragma unroll 4
      for (int k = 0; k < kDepth<T>; ++k) multiply_columns(a, b, k);
    }
  }

  // As TensorCores'.
  template <class Columns, class Store>
  __device__ __forceinline__ void visit(const Columns& columns, const Store& store) const {
#pragma unroll
    for (int n = 0; n < kThreadN; n += 4) {
      const int column = first_n_ + n * 8;
      const auto state = columns(column);
#pragma unroll
      for (int m = 0; m < kThreadM; ++m) {
        float values[4];
#pragma unroll
        for (int i = 0; i < 4; ++i) values[i] = sums_[m][n + i];
        store(state, row(m), column, values);
      }
    }
  }

 private:
  // Of C, for row m of the thread's.
  __device__ __forceinline__ int row(int m) const {
    return first_m_ + (kOrder == Order::rows ? m * 4 : m / 4 * 16 + m % 4);
  }

  template <int kCount>
  __device__ __forceinline__ static void load(const Shared<T>& from, int index,
                                              float (&to)[kCount]) {
    const auto pack = from.template load<Pack<T, kCount>>(index);
#pragma unroll
    for (int i = 0; i < kCount; ++i) to[i] = to_float(pack.values[i]);
  }

  __device__ __forceinline__ void multiply_rows(const Shared<T>& a, const Shared<T>& b, int k) {
    // Of the thread's rows, those of B have one key, those of A two.
    const int chunk = k / kChunk<T>;
    const int within = k % kChunk<T>;
    const int at_b = first_n_ * kDepth<T> + (chunk ^ row_key_b(first_n_)) * kChunk<T> + within;
    float of_b[kThreadN][kAlong];
#pragma unroll
    for (int n = 0; n < kThreadN; ++n) {
      load(b, at_b + (n / 4 * 32 + n % 4) * kDepth<T>, of_b[n]);
    }
    int at_a[2];
#pragma unroll
    for (int odd = 0; odd < 2; ++odd) {
      const int key = row_key(first_m_ + odd * 4);
      at_a[odd] = first_m_ * kDepth<T> + (chunk ^ key) * kChunk<T> + within;
    }
#pragma unroll
    for (int m = 0; m < kThreadM; ++m) {
      float of_a[kAlong];
      load(a, at_a[m % 2] + m * 4 * kDepth<T>, of_a);
#pragma unroll
      for (int i = 0; i < kAlong; ++i) {
#pragma unroll
        for (int n = 0; n < kThreadN; ++n) sums_[m][n] = fmaf(of_a[i], of_b[n][i], sums_[m][n]);
      }
    }
  }

  __device__ __forceinline__ void multiply_columns(const Shared<T>& a, const Shared<T>& b, int k) {
    const int key = column_key<T>(k);
    const auto load_four = [&](const Shared<T>& from, int rows, int row, float (&to)[4]) {
      load(from, k * rows + ((row / kChunk<T>)^key) * kChunk<T> + row % kChunk<T>, to);
    };
    float of_a[kThreadM / 4][4];
    float of_b[kThreadN / 4][4];
#pragma unroll
    for (int m = 0; m < kThreadM / 4; ++m) load_four(a, Tile::kM, first_m_ + m * 16, of_a[m]);
#pragma unroll
    for (int n = 0; n < kThreadN / 4; ++n) load_four(b, Tile::kN, first_n_ + n * 32, of_b[n]);
#pragma unroll
    for (int m = 0; m < kThreadM; ++m) {
#pragma unroll
      for (int n = 0; n < kThreadN; ++n) {
        sums_[m][n] = fmaf(of_a[m / 4][m % 4], of_b[n / 4][n % 4], sums_[m][n]);
      }
    }
  }

  int first_m_;
  int first_n_;
  float sums_[kThreadM][kThreadN];
};

}  // namespace goturn::cuda
