// The fc layers in training: three products with the weights' matrix, two of which read it or write
// a gradient of its size.
//
// Batch 50, fc6..fc8 of the paper: 10.9 GFLOP a product.  Storing the gradient and reading it again
// for the update would move 0.9 GB more than linear_sgd_update's 1.7 GB.

#include <algorithm>

#include "cpu/buffer.h"
#include "cpu/gemm.h"
#include "cpu/threads.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// Columns whose sums stay in the first cache.
constexpr std::int64_t kColumnsPerTask = 1024;

// dweight = dy^T x: rows are outputs, columns inputs, the batch is what is summed over.
Product weight_gradient(const LinearShape& shape, const float* dy, std::int64_t dy_stride,
                        const float* x) {
  return {shape.outputs, shape.inputs, shape.batch, {dy, 1, dy_stride}, {x, 1, shape.x_stride}};
}

}  // namespace

void linear_backward(const LinearShape& shape, const float* dy, std::int64_t dy_stride,
                     const float* x, const float* weight, float* dx, float* dweight, float* dbias) {
  if (dx != nullptr) {
    const Product product{shape.batch,
                          shape.inputs,
                          shape.outputs,
                          {dy, dy_stride, 1},
                          {weight, 1, shape.weight_stride}};
    gemm(product, dx, shape.inputs, false);
  }
  if (dweight != nullptr) {
    gemm(weight_gradient(shape, dy, dy_stride, x), dweight, shape.inputs, false);
  }
  parallel_for(divide_up(shape.outputs, kColumnsPerTask), [&](std::int64_t task) {
    const std::int64_t first = task * kColumnsPerTask;
    const std::int64_t count = std::min(kColumnsPerTask, shape.outputs - first);
    float* const sums = dbias + first;
    std::fill_n(sums, count, 0.0F);
    for (std::int64_t n = 0; n < shape.batch; ++n) {
      const float* row = dy + n * dy_stride + first;
      for (std::int64_t m = 0; m < count; ++m) sums[m] += row[m];
    }
  });
}

void linear_sgd_update(const LinearShape& shape, const SgdRates& rates, const float* dy,
                       std::int64_t dy_stride, const float* x, float* weight, float* velocity) {
  const Product product = weight_gradient(shape, dy, dy_stride, x);
  if (shape.batch <= kMaxUpdateDepth) {
    gemm_update(product, rates, weight, velocity);
    return;
  }
  // Sums over so many rows dwarf the update: the gradient may as well be stored.
  const std::int64_t values = values_of({shape.outputs, shape.inputs});
  const Floats gradient = floats(values);
  gemm(product, gradient.get(), shape.inputs, false);
  sgd_update(values, rates, gradient.get(), weight, velocity);
}

}  // namespace goturn::cpu
