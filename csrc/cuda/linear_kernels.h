// The kernels that linear and its backward choose from, one source file each.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "cuda/grid.h"
#include "cuda/linear_output.cuh"

namespace goturn::cuda {

// How the depth is cut, so that the blocks fill a GPU: by the shape alone, so that every GPU gives
// the same bits.
struct Slices {
  int count;
  std::int64_t depth;  // of each but the last
};

// For `tiles` tiles of results: slices that make about `blocks` blocks, none less deep than
// `least` and all multiples of `step`.
inline Slices slices_of(std::int64_t depth, std::int64_t tiles, std::int64_t blocks,
                        std::int64_t least, std::int64_t step) {
  std::int64_t count = 1;
  if (tiles > 0 && tiles <= kCounters) {
    count = std::max<std::int64_t>(1, std::min(blocks / tiles, depth / least));
  }
  const std::int64_t each = std::max(step, divide_up(divide_up(depth, count), step) * step);
  return {static_cast<int>(std::max<std::int64_t>(1, divide_up(depth, each))), each};
}

// Bytes of the slices' parts.
inline std::size_t parts_size(const Slices& slices, std::int64_t batch, std::int64_t rows) {
  if (slices.count == 1) return 0;
  return sizeof(float) * static_cast<std::size_t>(slices.count) * static_cast<std::size_t>(batch) *
         static_cast<std::size_t>(rows);
}

// -- a few rows, on CUDA cores at the speed of memory ---------------------------------------------

inline constexpr std::int64_t kMaxGemvBatch = 8;

// `vectors`: x and weight may be loaded 16 bytes at a time, and 16 bytes of weights divide the
// depth.
Slices gemv_slices(const LinearArguments& a, Type type, bool vectors);
void launch_gemv(const LinearArguments& a, Type type, bool vectors, Stream stream);

// -- batches, on CUDA cores -----------------------------------------------------------------------

Slices scalar_slices(const LinearArguments& a);
void launch_scalar(const LinearArguments& a, Type type, Stream stream);
// weight is (depth, rows), in float.
void launch_scalar_across(const LinearArguments& a, Stream stream);

// -- batches, on tensor cores ---------------------------------------------------------------------

// Fewer products than that are not worth a tile; and over so few, errors of the numbers' splitting
// into two are not averaged.
inline constexpr std::int64_t kMinMatrixDepth = 32;

// x and weight allow loads of 16 bytes, and 16 bytes of weights divide the depth.
Slices matrix_slices(const LinearArguments& a, Type type);
void launch_matrix(const LinearArguments& a, Type type, Products products, Stream stream);
void launch_matrix_reduced(const LinearArguments& a, Type type, Stream stream);

}  // namespace goturn::cuda
