// Matrix products: one blocked, packed product that serves the fc layers and the convolutions'
// weight gradients.
#pragma once

#include <cstdint>

#include "shapes.h"

namespace goturn::cpu {

// One side of a product.  Its value (i, k), k being what is summed over, lies at
// data[i * stride + k * depth_stride]; or, where there are tables, at data[offsets[i] +
// depth_offsets[k]], which is what a convolution's windows need.
struct Operand {
  const float* data;
  std::int64_t stride;
  std::int64_t depth_stride;
  const std::int64_t* offsets = nullptr;
  const std::int64_t* depth_offsets = nullptr;
};

// sum over k of [0, depth): a(m, k) * b(n, k), for `rows` m and `columns` n.
struct Product {
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t depth;
  Operand a;
  Operand b;
};

// c[m * c_stride + n] = the product, or += it where `add`.  The order of a sum depends on the shape
// and the instruction set alone.
void gemm(const Product& product, float* c, std::int64_t c_stride, bool add);

// The product is a gradient that is applied as it appears, and never stored, as sgd_update does:
// v = momentum v + rate (gradient + decay w); w -= v.
//   weight, velocity  (rows, columns), C-contiguous: changed
// `depth` is kMaxUpdateDepth at most.
void gemm_update(const Product& product, const SgdRates& rates, float* weight, float* velocity);
inline constexpr std::int64_t kMaxUpdateDepth = 2048;

}  // namespace goturn::cpu
