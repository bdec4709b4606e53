// Weights of linear in fewer bits: f16 and bf16 value by value, int8 with a scale for each row.
//
// Floor: the bytes read and written; done once, when weights are loaded.

#include "cuda/device.cuh"
#include "cuda/grid.h"
#include "cuda/numbers.h"
#include "cuda/ops.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kEach = 4;  // values a thread converts at a time

template <class T, bool kVector>
__global__ void __launch_bounds__(kThreads)
    convert_values(const std::int64_t count, const float* x, T* y) {
  for (std::int64_t piece = first_piece(); piece < divide_up(count, kEach); piece += next_piece()) {
    const std::int64_t at = piece * kEach;
    if (kVector && at + kEach <= count) {
      const float4 four = *reinterpret_cast<const float4*>(x + at);
      *reinterpret_cast<uint2*>(y + at) =
          make_uint2(pack<T>(four.x, four.y), pack<T>(four.z, four.w));
    } else {
      for (std::int64_t i = at; i < at + kEach && i < count; ++i) y[i] = from_float<T>(x[i]);
    }
  }
}

template <class T>
void convert_to(std::int64_t count, const float* x, void* y, Stream stream) {
  const Launch how{dim3(blocks_for(divide_up(count, kEach), kThreads)), dim3(kThreads)};
  auto* const to = static_cast<T*>(y);
  if (aligned16(x) && reinterpret_cast<std::uintptr_t>(y) % 8 == 0) {
    launch("convert", convert_values<T, true>, how, stream, count, x, to);
  } else {
    launch("convert", convert_values<T, false>, how, stream, count, x, to);
  }
}

// A block for each row, in turn: the largest absolute value, then the values.
__global__ void __launch_bounds__(kThreads)
    rows_to_int8(const std::int64_t rows, const std::int64_t columns, const float* weight,
                 const std::int64_t weight_stride, std::int8_t* values, float* scales) {
  GOTURN_SHARED(float, warps, kThreads / kWarp);
  const int thread = static_cast<int>(threadIdx.x);
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    const float* const from = weight + row * weight_stride;
    // As bits, absolute values are in their order, and what is no number is above infinity.
    unsigned largest = 0;
    for (std::int64_t i = thread; i < columns; i += kThreads) {
      const unsigned size = __float_as_uint(fabsf(from[i]));
      largest = size > largest ? size : largest;
    }
#pragma unroll
    for (int distance = kWarp / 2; distance >= 1; distance /= 2) {
      const unsigned other = __shfl_xor_sync(kAllLanes, largest, distance);
      largest = other > largest ? other : largest;
    }
    __syncthreads();  // all have read the row before
    if (thread % kWarp == 0) warps[thread / kWarp] = __uint_as_float(largest);
    __syncthreads();
    for (int i = 0; i < kThreads / kWarp; ++i) {
      const float size = warps[i];
      largest = __float_as_uint(size) > largest ? __float_as_uint(size) : largest;
    }
    constexpr unsigned kInfinity = 0x7F800000U;
    const bool finite = largest < kInfinity;
    const float scale =
        finite ? __fdiv_rn(__uint_as_float(largest), 127.0F) : __uint_as_float(0x7FC00000U);
    if (thread == 0) scales[row] = scale;
    const float divisor = scale > 0 ? scale : 1.0F;
    for (std::int64_t i = thread; i < columns && finite; i += kThreads) {
      const float rounded = rintf(__fdiv_rn(from[i], divisor));
      // Among the smallest numbers of all the scale itself is rounded, and may be too small.
      const float bounded = fminf(fmaxf(rounded, -127.0F), 127.0F);
      values[row * columns + i] = static_cast<std::int8_t>(bounded);
    }
  }
}

}  // namespace

void convert(std::int64_t count, const float* x, Type to, void* y, Stream stream) {
  if (count == 0) return;
  if (to == Type::f16) return convert_to<Half>(count, x, y, stream);
  if (to == Type::bf16) return convert_to<BFloat16>(count, x, y, stream);
  throw std::invalid_argument("convert: to float16 or bfloat16 alone");
}

void to_int8(const LinearShape& shape, const float* weight, std::int8_t* values, float* scale,
             Stream stream) {
  if (shape.outputs == 0) return;
  launch("to_int8", rows_to_int8, {dim3(blocks_for(shape.outputs, 1)), dim3(kThreads)}, stream,
         shape.outputs, shape.inputs, weight, shape.weight_stride, values, scale);
}

}  // namespace goturn::cuda
