// Rows by number: what eleven examples share is computed once, and handed to each.
//
// Threads go along the columns, so that both sides are read and written in whole lines; bytes are
// all there is to it.

#include <algorithm>

#include "cuda/ops.h"
#include "cuda/platform.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void gather_rows_kernel(std::int64_t rows, std::int64_t columns,
                                   const std::int32_t* index, const float* x, float* y,
                                   std::int64_t y_stride) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns) return;
  for (std::int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    y[row * y_stride + column] = x[index[row] * columns + column];
  }
}

__global__ void sum_rows_kernel(std::int64_t rows, std::int64_t groups, std::int64_t columns,
                                const std::int32_t* index, const float* x, std::int64_t x_stride,
                                float* y) {
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns) return;
  for (std::int64_t group = blockIdx.y; group < groups; group += gridDim.y) {
    float sum = 0.0F;
    for (std::int64_t row = 0; row < rows; ++row) {
      if (index[row] == group) sum += x[row * x_stride + column];
    }
    y[group * columns + column] = sum;
  }
}

Launch over(std::int64_t columns, std::int64_t rows) {
  constexpr std::int64_t kMostRows = 65535;  // of a grid; blocks take the rest in turns
  return {dim3(static_cast<unsigned>((columns + kThreads - 1) / kThreads),
               static_cast<unsigned>(std::min(rows, kMostRows))),
          dim3(kThreads)};
}

}  // namespace

void gather_rows(std::int64_t rows, std::int64_t columns, const std::int32_t* index, const float* x,
                 float* y, std::int64_t y_stride, Stream stream) {
  if (rows == 0 || columns == 0) return;
  launch("gather_rows", gather_rows_kernel, over(columns, rows), stream, rows, columns, index, x, y,
         y_stride);
}

void sum_rows(std::int64_t rows, std::int64_t groups, std::int64_t columns,
              const std::int32_t* index, const float* x, std::int64_t x_stride, float* y,
              Stream stream) {
  if (groups == 0 || columns == 0) return;
  launch("sum_rows", sum_rows_kernel, over(columns, groups), stream, rows, groups, columns, index,
         x, x_stride, y);
}

}  // namespace goturn::cuda
