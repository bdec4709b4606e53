// Sums of outer products, dy^T x over the batch, which is the gradient of linear's weight; what
// becomes of a gradient is the caller's to say.
//
// The batch is the summed dimension and small (50), so that a gradient costs 100 FLOP where the
// weight it belongs to is 4 bytes: with all that is read and written of it, memory decides, and
// CUDA cores suffice for exact single precision.
//
// A block computes the gradients of 64 rows (outputs) by 128 columns (inputs), in two passes of 4
// rows by 4 neighbouring columns a thread: a warp's threads lie side by side and read and write 512
// bytes of a row at once.  dy and x come to shared memory for 64 items of the batch at a time; of
// dy a warp reads one place for all its threads, of x each thread its own 16 bytes.
#pragma once

#include <algorithm>

#include "cuda/device.cuh"
#include "cuda/grid.h"
#include "cuda/ops.h"

namespace goturn::cuda::linear_outer {

inline constexpr int kThreads = 256;
inline constexpr int kRowsEach = 4;  // of a thread, in a pass
inline constexpr int kPassRows = kThreads / kWarp * kRowsEach;
inline constexpr int kPasses = 2;
inline constexpr int kRows = kPasses * kPassRows;
inline constexpr int kColumns = 4 * kWarp;
inline constexpr int kItems = 64;

struct Arguments {
  std::int64_t batch;
  std::int64_t rows;
  std::int64_t columns;
  const float* dy;  // (batch, rows), rows dy_stride apart
  std::int64_t dy_stride;
  const float* x;  // (batch, columns), rows x_stride apart
  std::int64_t x_stride;
};

// Without columns there is still one tile of them, for the bias.
__host__ __device__ inline unsigned column_tiles(const Arguments& a, bool has_columns) {
  if (!has_columns || a.columns == 0) return 1;
  return static_cast<unsigned>((a.columns + kColumns - 1) / kColumns);
}

// `items` rows of a matrix, `stride` apart, at most kWidth values of each; zeros beyond `width`, so
// that what is not stored is computed like the rest.
template <int kWidth>
__device__ __forceinline__ void stage(const float* from, std::int64_t stride, std::int64_t width,
                                      int items, const Shared<float>& to) {
  const int column = static_cast<int>(threadIdx.x) % kWidth;
  const bool valid = column < width;
  int item = static_cast<int>(threadIdx.x) / kWidth;
  const float* place = valid ? from + item * stride + column : from;
#pragma unroll 1
  for (; item < items; item += kThreads / kWidth) {
    copy_async<4>(to, item * kWidth + column, place, valid);
    if (valid) place += kThreads / kWidth * stride;
  }
}

// Grid: tiles of columns x tiles of rows, the former first.
//
// Target is what becomes of gradients:
//   has_columns(), has_bias()             which gradients are wanted: the weight's, the bias's
//   place(row, column), stride()          of a value of the weight, and from row to row
//   Target::Row                           of a row, what is loaded of four columns before the
//                                         products, to be there after them
//   prefetch(place, count)                asks for that; `count` of the four are inside the weight
//   load(place, count, Row&)
//   store(place, count, gradients, Row)
//   store_bias(row, gradient)
template <class Target>
__global__ void __launch_bounds__(kThreads, 3)
    outer_products(const Arguments a, const Target target) {
  GOTURN_SHARED(float, gradients, kItems* kRows);
  GOTURN_SHARED(float, inputs, kItems* kColumns);
  const int thread = static_cast<int>(threadIdx.x);
  const int lane = thread % kWarp;
  const auto tiles = column_tiles(a, target.has_columns());
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x / tiles) * kRows;
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x % tiles) * kColumns;

  if (target.has_bias() && first_column == 0 && thread < kRows && first_row + thread < a.rows) {
    float sum = 0;
#pragma unroll 4
    for (std::int64_t n = 0; n < a.batch; ++n) sum += a.dy[n * a.dy_stride + first_row + thread];
    target.store_bias(first_row + thread, sum);
  }
  if (!target.has_columns()) return;

  const std::int64_t rows_left = a.rows - first_row;
  const std::int64_t columns_left = a.columns - first_column - 4 * lane;
  const int count = columns_left < 0 ? 0 : columns_left < 4 ? static_cast<int>(columns_left) : 4;
  const auto stage_items = [&](std::int64_t first) {
    const auto items = static_cast<int>(a.batch - first < kItems ? a.batch - first : kItems);
    stage<kRows>(a.dy + first * a.dy_stride + first_row, a.dy_stride, rows_left, items, gradients);
    stage<kColumns>(a.x + first * a.x_stride + first_column, a.x_stride, a.columns - first_column,
                    items, inputs);
    copy_async_commit();
  };
  if (a.batch > 0) stage_items(0);

  int row = thread / kWarp * kRowsEach;
  std::int64_t place = target.place(first_row + row, first_column + 4 * lane);
#pragma unroll
  for (int r = 0; r < kRowsEach; ++r) {
    if (kPassRows + row + r < rows_left && count > 0) {
      target.prefetch(place + (kPassRows + r) * target.stride());
    }
  }
  std::int64_t staged = 0;
#pragma unroll 1
  for (int pass = 0; pass < kPasses; ++pass) {
    typename Target::Row loaded[kRowsEach];
#pragma unroll
    for (int r = 0; r < kRowsEach; ++r) {
      if (row + r < rows_left && count > 0) {
        target.load(place + r * target.stride(), count, loaded[r]);
      }
    }
    float sums[kRowsEach][4] = {};
    for (std::int64_t first = 0; first < a.batch; first += kItems) {
      const auto items = static_cast<int>(a.batch - first < kItems ? a.batch - first : kItems);
      if (first != staged) {
        __syncthreads();  // all have done with what was there
        stage_items(first);
        staged = first;
      }
      copy_async_wait<0>();
      __syncthreads();
#pragma unroll 2
      for (int n = 0; n < items; ++n) {
        const auto x = inputs.template load<float4>(n * kColumns + 4 * lane);
        const auto dy = gradients.template load<float4>(n * kRows + row);
        const float four[kRowsEach] = {dy.x, dy.y, dy.z, dy.w};
#pragma unroll
        for (int r = 0; r < kRowsEach; ++r) {
          sums[r][0] = fmaf(four[r], x.x, sums[r][0]);
          sums[r][1] = fmaf(four[r], x.y, sums[r][1]);
          sums[r][2] = fmaf(four[r], x.z, sums[r][2]);
          sums[r][3] = fmaf(four[r], x.w, sums[r][3]);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < kRowsEach; ++r) {
      if (row + r < rows_left && count > 0) {
        target.store(place + r * target.stride(), count, sums[r], loaded[r]);
      }
    }
    row += kPassRows;
    place += kPassRows * target.stride();
  }
}

template <class Target>
void launch_outer(const char* name, const Arguments& a, const Target& target, bool has_columns,
                  Stream stream) {
  const auto blocks =
      static_cast<unsigned>(column_tiles(a, has_columns) * divide_up(a.rows, kRows));
  if (blocks == 0) return;
  launch(name, outer_products<Target>, {dim3(blocks), dim3(kThreads)}, stream, a, target);
}

}  // namespace goturn::cuda::linear_outer
