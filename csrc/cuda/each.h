// Kernels that treat each of `count` values by itself: bound by memory, so vectors of 16 bytes
// where addresses allow.
#pragma once

#include "cuda/grid.h"
#include "cuda/ops.h"
#include "cuda/vectors.h"

namespace goturn::cuda {

// Op::at<kCount>(first) treats kCount values from `first` on.
template <int kCount, class Op>
__global__ void each(std::int64_t count, Op op) {
  const std::int64_t vectors = count / kCount;
  for (std::int64_t i = first_piece(); i < vectors; i += next_piece()) {
    op.template at<kCount>(i * kCount);
  }
  if constexpr (kCount > 1) {  // fewer than kCount are left over, and a block has more threads
    const std::int64_t left_over = vectors * kCount + first_piece();
    if (left_over < count) op.template at<1>(left_over);
  }
}

// Launches `op` on all values; `vectors` where the addresses of all its arrays are multiples of 16.
template <class Op>
void for_each_value(const char* name, std::int64_t count, bool vectors, const Op& op,
                    Stream stream) {
  constexpr int kThreads = 256;
  constexpr int kCount = kVector<float>;
  if (count == 0) return;
  Launch how;
  how.block = dim3(kThreads);
  if (vectors) {
    how.grid = dim3(blocks_for(divide_up(count, kCount), kThreads));
    launch(name, each<kCount, Op>, how, stream, count, op);
  } else {
    how.grid = dim3(blocks_for(count, kThreads));
    launch(name, each<1, Op>, how, stream, count, op);
  }
}

}  // namespace goturn::cuda
