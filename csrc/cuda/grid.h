// Grids of kernels that treat many values alike: as many blocks as there is work, and loops in the
// kernel over what is beyond the largest grid.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cuda/platform.h"

namespace goturn::cuda {

// Blocks that fill a large GPU (132 multiprocessors, an H100's) once, with two on each.  Constant,
// so that how work is cut depends on shapes alone, and every GPU gives the same bits.
inline constexpr std::int64_t kFullGrid = 264;

__host__ __device__ inline std::int64_t divide_up(std::int64_t value, std::int64_t step) {
  return value / step + (value % step != 0);
}

// Blocks for `work` pieces of which a block does `per_block`.
inline unsigned blocks_for(std::int64_t work, std::int64_t per_block) {
  constexpr std::int64_t most = (std::int64_t{1} << 31) - 1;
  return static_cast<unsigned>(std::min(divide_up(work, per_block), most));
}

// The first piece of this thread in a one-dimensional grid, and the way to its next.
__device__ __forceinline__ std::int64_t first_piece() {
  return static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}
__device__ __forceinline__ std::int64_t next_piece() {
  return static_cast<std::int64_t>(gridDim.x) * blockDim.x;
}

// Whether all pointers allow vectors of 16 bytes.
template <class... Pointers>
bool aligned16(const Pointers*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

}  // namespace goturn::cuda
