// What every kernel of linear is given, and what becomes of its sums.
//
// A kernel computes sums of products, (batch, rows): rows of the weight forward, its columns
// backward.  Where blocks share one sum, each a slice of the summed dimension, they leave their
// parts in the workspace, and the last block to come adds them up in the order of the slices: which
// block that is does not matter to the result.
#pragma once

#include <cstdint>

#include "cuda/ops.h"
#include "cuda/platform.h"

namespace goturn::cuda {

// y = gated(dropout(relu(sum * scale + bias))).
struct LinearOutput {
  const float* scale = nullptr;  // of each row, or null
  const float* bias = nullptr;   // (rows), or (batch, rows) with bias_stride rows; or null
  std::int64_t bias_stride = 0;
  bool relu = false;
  const std::uint64_t* key = nullptr;  // of dropout, or null
  std::uint64_t threshold = 0;
  float kept = 1;
  const float* gate = nullptr;  // (batch, rows), rows gate_stride apart, or null
  std::int64_t gate_stride = 0;
  float gate_factor = 1;
  float* y = nullptr;  // (batch, rows)
};

struct LinearArguments {
  std::int64_t batch;
  std::int64_t rows;   // results of each item of the batch
  std::int64_t depth;  // products of each result
  const float* x;      // (batch, depth), rows x_stride apart
  std::int64_t x_stride;
  const void* weight;  // (rows, depth), or (depth, rows) where a kernel says so
  std::int64_t weight_stride;
  LinearOutput output;
  // Slices of depth, of slice_depth products each but the last.
  int slices;
  std::int64_t slice_depth;
  float* parts;   // (slices, batch, rows)
  int* counters;  // one for each tile of results; zero before and after
};

// Whether dropout keeps value i: as dropout_mask.
__device__ __forceinline__ bool dropout_keeps(std::uint64_t key, std::uint64_t i,
                                              std::uint64_t threshold) {
  std::uint64_t z = key + (i + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  z ^= z >> 31;
  return (z >> 32) >= threshold;
}

// A finished sum to y.
__device__ __forceinline__ void put_result(const LinearArguments& a, std::int64_t item,
                                           std::int64_t row, float value) {
  const LinearOutput& o = a.output;
  const std::int64_t index = item * a.rows + row;
  if (o.scale != nullptr) value *= o.scale[row];
  if (o.bias != nullptr) value += o.bias[item * o.bias_stride + row];
  if (o.relu) value = value <= 0.0F ? 0.0F : value;  // a NaN stays one
  if (o.key != nullptr) {
    const bool keeps = dropout_keeps(*o.key, static_cast<std::uint64_t>(index), o.threshold);
    // Times the mask, so that what is not a number stays none.
    value = value * (keeps ? 1.0F : 0.0F) / o.kept;
  }
  if (o.gate != nullptr) {
    value = o.gate[item * o.gate_stride + row] > 0.0F ? value * o.gate_factor : 0.0F;
  }
  o.y[index] = value;
}

// The sum of this block's slice: to y where there is one slice alone, else to the workspace.
__device__ __forceinline__ void put_sum(const LinearArguments& a, int slice, std::int64_t item,
                                        std::int64_t row, float value) {
  if (a.slices == 1) {
    put_result(a, item, row, value);
  } else {
    a.parts[(slice * a.batch + item) * a.rows + row] = value;
  }
}

// After a tile's put_sum, by all threads of the block: where this block is the last of the tile's,
// adds up the parts of its `tile_rows` rows from `first_row` and `tile_items` items from
// `first_item`.
__device__ __forceinline__ void add_slices(const LinearArguments& a, int tile,
                                           std::int64_t first_row, int tile_rows,
                                           std::int64_t first_item, int tile_items) {
  if (a.slices == 1) return;
  GOTURN_SHARED(int, last, 1);
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last[0] = atomicAdd(a.counters + tile, 1) == a.slices - 1;
  __syncthreads();
  if (last[0] == 0) return;
  __threadfence();
  const std::int64_t step = a.batch * a.rows;
  const int count = tile_rows * tile_items;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    const std::int64_t row = first_row + i % tile_rows;
    const std::int64_t item = first_item + i / tile_rows;
    if (row >= a.rows || item >= a.batch) continue;
    const float* part = a.parts + item * a.rows + row;
    float sum = 0;
#pragma unroll 8
    for (int slice = 0; slice < a.slices; ++slice) sum += __ldcg(part + slice * step);
    put_result(a, item, row, sum);
  }
  if (threadIdx.x == 0) a.counters[tile] = 0;
}

}  // namespace goturn::cuda
