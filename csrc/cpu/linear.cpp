// The fc layers at small batches: the weights stream past once, at the speed of memory.
//
// 109 M weights in the paper's network: 436 MB in fp32, for 0.22 GFLOP an object.

#include <algorithm>

#include "cpu/kernels.h"
#include "cpu/threads.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// Rows of one piece of work: enough that a stream of them is worth starting, few enough that
// threads finish together.
constexpr std::int64_t kRowsPerTask = 16;
// Inputs that pass over a row of weights together; more would not stay in the cache beside it.
constexpr std::int64_t kBatchPerPass = 16;

}  // namespace

void linear(const LinearShape& shape, const float* x, const float* weight, const float* bias,
            std::int64_t bias_stride, bool relu, float* y) {
  const Kernels& k = kernels();
  const std::int64_t tasks = (shape.outputs + kRowsPerTask - 1) / kRowsPerTask;
  parallel_for(tasks, [&](std::int64_t task) {
    const std::int64_t first = task * kRowsPerTask;
    const std::int64_t rows = std::min(kRowsPerTask, shape.outputs - first);
    for (std::int64_t row = first; row < first + rows; row += 2) {
      const std::int64_t pair = std::min<std::int64_t>(2, first + rows - row);
      for (std::int64_t n = 0; n < shape.batch; n += kBatchPerPass) {
        const std::int64_t batch = std::min(kBatchPerPass, shape.batch - n);
        k.dot_rows(weight + row * shape.weight_stride, shape.weight_stride, pair,
                   x + n * shape.x_stride, shape.x_stride, batch, shape.inputs,
                   y + n * shape.outputs + row, shape.outputs);
      }
    }
    for (std::int64_t n = 0; n < shape.batch; ++n) {
      float* to = y + n * shape.outputs;
      for (std::int64_t row = first; row < first + rows; ++row) {
        if (bias != nullptr) to[row] += bias[n * bias_stride + row];
        if (relu && to[row] < 0) to[row] = 0;
      }
    }
  });
}

}  // namespace goturn::cpu
