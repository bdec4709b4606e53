// fc weights in fewer bits: conversion, and products.  Those of int8 are with activations as whole
// numbers of 16 bits: multiplied and summed by one instruction for each two, and 64 times finer
// than the weights.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/kernels.h"
#include "cpu/linear_rows.h"
#include "cpu/threads.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// The nearest bfloat16, ties to even, as bits: a float's upper half, after adding just under half
// of its last bit, or half where that bit is odd.
std::uint16_t bf16_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  constexpr std::uint32_t quiet = 0x40;  // in a NaN the carry could end up in the sign
  if (value != value) return static_cast<std::uint16_t>(bits >> 16 | quiet);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// One row to int8; its scale, NaN where a value is not finite.
float int8_row(const float* from, std::int64_t count, std::int8_t* to) {
  float largest = 0;
  bool finite = true;
  for (std::int64_t k = 0; k < count; ++k) {
    const float size = std::abs(from[k]);
    finite &= size <= std::numeric_limits<float>::max();
    largest = size > largest ? size : largest;
  }
  if (!finite) return std::numeric_limits<float>::quiet_NaN();
  const float scale = largest / 127;
  const float divisor = scale > 0 ? scale : 1;
  // Beyond this number, floats are whole ones: the sum is rounded to nearest, ties to even.
  constexpr float whole = 12582912;
  for (std::int64_t k = 0; k < count; ++k) {
    const float rounded = (from[k] / divisor + whole) - whole;
    // Among the smallest numbers of all the scale itself is rounded, and may be too small.
    to[k] = static_cast<std::int8_t>(std::clamp(rounded, -127.0F, 127.0F));
  }
  return scale;
}

}  // namespace

void to_bf16(const LinearShape& shape, const float* weight, std::uint16_t* values) {
  parallel_for(shape.outputs, [&](std::int64_t row) {
    const float* from = weight + row * shape.weight_stride;
    std::transform(from, from + shape.inputs, values + row * shape.inputs, bf16_of);
  });
}

void to_int8(const LinearShape& shape, const float* weight, std::int8_t* values, float* scale) {
  parallel_for(shape.outputs, [&](std::int64_t row) {
    scale[row] =
        int8_row(weight + row * shape.weight_stride, shape.inputs, values + row * shape.inputs);
  });
}

void linear_bf16(const LinearShape& shape, const float* x, const std::uint16_t* weight,
                 const float* bias, std::int64_t bias_stride, bool relu, float* y) {
  linear_rows(shape, x, weight, kernels().dot_rows_bf16,
              {nullptr, nullptr, bias, bias_stride, relu, y});
}

void linear_int8(const LinearShape& shape, const float* x, const std::int8_t* weight,
                 const float* scale, const float* bias, std::int64_t bias_stride, bool relu,
                 float* y) {
  const Kernels& k = kernels();
  LinearShape numbers_shape = shape;
  numbers_shape.x_stride = shape.inputs;
  const auto numbers = buffer_of<std::int16_t>(values_of({shape.batch, shape.inputs}));
  const Floats input_scale = floats(shape.batch);
  parallel_for(shape.batch, [&](std::int64_t n) {
    k.to_int16(1, shape.inputs, x + n * shape.x_stride, shape.x_stride,
               numbers.get() + n * shape.inputs, shape.inputs, input_scale.get() + n, 1);
  });
  linear_rows(numbers_shape, static_cast<const std::int16_t*>(numbers.get()), weight,
              k.dot_rows_int8, {input_scale.get(), scale, bias, bias_stride, relu, y});
}

}  // namespace goturn::cpu
