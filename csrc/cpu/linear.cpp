#include "cpu/gemm.h"
#include "cpu/kernels.h"
#include "cpu/linear_rows.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// From here on packing the weights pays, if there are some more than a tile's.
constexpr std::int64_t kLargeBatch = 24;
constexpr std::int64_t kManyOutputs = 64;

void linear_product(const LinearShape& shape, const float* x, const float* weight,
                    const float* bias, std::int64_t bias_stride, bool relu, float* y) {
  gemm({shape.batch,
        shape.outputs,
        shape.inputs,
        {x, shape.x_stride, 1},
        {weight, shape.weight_stride, 1}},
       y, shape.outputs, false);
  if (bias == nullptr && !relu) return;
  parallel_for(shape.batch, [&](std::int64_t n) {
    float* row = y + n * shape.outputs;
    for (std::int64_t m = 0; m < shape.outputs; ++m) {
      const float value = bias != nullptr ? row[m] + bias[n * bias_stride + m] : row[m];
      row[m] = relu && value < 0 ? 0 : value;
    }
  });
}

}  // namespace

void linear(const LinearShape& shape, const float* x, const float* weight, const float* bias,
            std::int64_t bias_stride, bool relu, float* y) {
  if (shape.batch >= kLargeBatch && shape.outputs >= kManyOutputs) {
    linear_product(shape, x, weight, bias, bias_stride, relu, y);
    return;
  }
  linear_rows(shape, x, weight, kernels().dot_rows, {nullptr, nullptr, bias, bias_stride, relu, y});
}

}  // namespace goturn::cpu
