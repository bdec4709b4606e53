// Images from planes (NCHW, float) to pixels (NHWC, any type) and back.
//
// A block transposes 32 channels x 32 pixels through shared memory, so that both sides are reached
// in lines.  Bound by memory: every value is read and written once.
#include <algorithm>

#include "cuda/numbers.h"
#include "cuda/ops.h"

namespace goturn::cuda {

namespace {

constexpr int kSide = 32;
constexpr int kRows = 8;           // of threads
constexpr int kPitch = kSide + 1;  // so that a column lies in 32 banks

// Blocks: x tiles of `columns`, y tiles of `rows`, z images; y and z go on in steps of the grid.
//
// from (batch, rows, columns) to (batch, columns, padded_rows), zeros from `rows` on.
template <class From, class To>
__global__ void __launch_bounds__(kSide* kRows)
    transpose_kernel(std::int64_t batch, std::int64_t rows, std::int64_t columns,
                     std::int64_t padded_rows, const From* from, To* to) {
  GOTURN_SHARED(float, tile, kSide* kPitch);
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int x = static_cast<int>(threadIdx.x);
  const int y = static_cast<int>(threadIdx.y);
  const std::int64_t first_column = static_cast<std::int64_t>(blockIdx.x) * kSide;
  for (std::int64_t image = blockIdx.z; image < batch; image += gridDim.z) {
    for (std::int64_t first_row = static_cast<std::int64_t>(blockIdx.y) * kSide;
         first_row < padded_rows; first_row += static_cast<std::int64_t>(gridDim.y) * kSide) {
#pragma unroll
      for (int i = 0; i < kSide; i += kRows) {
        const std::int64_t row = first_row + y + i;
        const std::int64_t column = first_column + x;
        float value = 0.0F;
        if (row < rows && column < columns) {
          value = to_float(from[(image * rows + row) * columns + column]);
        }
        tile[(y + i) * kPitch + x] = value;
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kSide; i += kRows) {
        const std::int64_t row = first_row + x;
        const std::int64_t column = first_column + y + i;
        const float value = tile[x * kPitch + y + i];
        if (row < padded_rows && column < columns) {
          to[(image * columns + column) * padded_rows + row] = from_float<To>(value);
        }
      }
      __syncthreads();
    }
  }
}

template <class From, class To>
void transpose(std::int64_t batch, std::int64_t rows, std::int64_t columns,
               std::int64_t padded_rows, const void* from, void* to, Stream stream) {
  if (batch == 0 || padded_rows == 0 || columns == 0) return;
  constexpr std::int64_t kMost = 65535;
  const auto tiles = [](std::int64_t size) { return (size + kSide - 1) / kSide; };
  const dim3 grid(static_cast<unsigned>(tiles(columns)),
                  static_cast<unsigned>(std::min(tiles(padded_rows), kMost)),
                  static_cast<unsigned>(std::min(batch, kMost)));
  launch("transpose", transpose_kernel<From, To>, {grid, dim3(kSide, kRows), 0, true}, stream,
         batch, rows, columns, padded_rows, static_cast<const From*>(from), static_cast<To*>(to));
}

}  // namespace

void nchw_to_nhwc(std::int64_t batch, std::int64_t channels, std::int64_t pixels,
                  std::int64_t padded_channels, const float* x, Type type, void* y, Stream stream) {
  dispatch(type, [&](auto zero) {
    transpose<float, decltype(zero)>(batch, channels, pixels, padded_channels, x, y, stream);
  });
}

void nhwc_to_nchw(std::int64_t batch, std::int64_t channels, std::int64_t pixels, Type type,
                  const void* x, float* y, Stream stream) {
  dispatch(type, [&](auto zero) {
    transpose<decltype(zero), float>(batch, pixels, channels, pixels, x, y, stream);
  });
}

}  // namespace goturn::cuda
