// The fc layers at small batches: the weights stream past once, at the speed of memory, whatever
// they are stored as.
//
// 109 M weights in the paper's network: 436 MB in fp32, for 0.22 GFLOP an object.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/buffer.h"
#include "cpu/kernels.h"
#include "cpu/threads.h"
#include "shapes.h"

namespace goturn::cpu {

// What becomes of the products: times scales, plus bias, then ReLU.
struct LinearOutput {
  const float* input_scale;  // (batch), and
  const float* scale;        // (outputs); or null for none
  const float* bias;  // (outputs), or (batch, outputs) with bias_stride outputs; null for none
  std::int64_t bias_stride;
  bool relu;
  float* y;  // (batch, outputs), C-contiguous
};

// The inputs as DotRows wants them, kMaxDotBatch at a time.  At the same offset of rows that lie
// some multiple of 4 KiB apart, as they are, they would compete for the same few places in the
// cache.
template <class Input>
Buffer<Input> pack_inputs(const LinearShape& shape, const Input* x, std::int64_t lanes) {
  const std::int64_t padded = round_up(shape.inputs, lanes);
  Buffer<Input> packed = buffer_of<Input>(values_of({shape.batch, padded}));
  parallel_for(shape.batch, [&](std::int64_t n) {
    const std::int64_t first = n / kMaxDotBatch * kMaxDotBatch;
    const std::int64_t batch = std::min<std::int64_t>(kMaxDotBatch, shape.batch - first);
    const Input* from = x + n * shape.x_stride;
    Input* to = packed.get() + first * padded + (n - first) * lanes;
    for (std::int64_t k = 0; k < shape.inputs; k += lanes, to += batch * lanes) {
      std::copy_n(from + k, std::min<std::int64_t>(lanes, shape.inputs - k), to);
    }
  });
  return packed;
}

template <class Weight, class Input>
void linear_rows(const LinearShape& shape, const Input* x, const Weight* weight,
                 DotRows<Weight, Input> dot_rows, const LinearOutput& output) {
  // Values in a vector.
  const auto lanes = static_cast<std::int64_t>(kernels().lanes * sizeof(float) / sizeof(Input));
  const std::int64_t padded = round_up(shape.inputs, lanes);
  const Buffer<Input> packed = shape.batch > 1 ? pack_inputs(shape, x, lanes) : nullptr;
  parallel_for(divide_up(shape.outputs, kMaxDotRows), [&](std::int64_t task) {
    const std::int64_t first = task * kMaxDotRows;
    const std::int64_t rows = std::min<std::int64_t>(kMaxDotRows, shape.outputs - first);
    for (std::int64_t n = 0; n < shape.batch; n += kMaxDotBatch) {
      dot_rows(weight + first * shape.weight_stride, shape.weight_stride, rows,
               packed ? packed.get() + n * padded : x,
               std::min<std::int64_t>(kMaxDotBatch, shape.batch - n), shape.inputs,
               output.y + n * shape.outputs + first, shape.outputs);
    }
    for (std::int64_t n = 0; n < shape.batch; ++n) {
      float* to = output.y + n * shape.outputs;
      for (std::int64_t row = first; row < first + rows; ++row) {
        if (output.scale != nullptr) {
          // Halfway, a float might be too large or too small where the result is not.
          to[row] = static_cast<float>(double{to[row]} * output.scale[row] * output.input_scale[n]);
        }
        if (output.bias != nullptr) to[row] += output.bias[n * output.bias_stride + row];
        if (output.relu && to[row] < 0) to[row] = 0;
      }
    }
  });
}

}  // namespace goturn::cpu
