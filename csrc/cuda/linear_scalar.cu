// linear for batches on CUDA cores, in exact single precision, for any type, shape and alignment.
//
// Floor: 2 FLOP a product at the rate of the CUDA cores (fc6 for 50 rows: 7.5 GFLOP), or the bytes
// of the weights where the batch is below 30.
//
// A block of 256 threads computes 128 rows of the weight for 16, 32 or 64 items of the batch, 8 x
// 1, 2 or 4 of them a thread, from tiles of 16 products' depth in shared memory.  While one tile is
// multiplied, the next is on its way in registers, where it becomes float.

#include "cuda/device.cuh"
#include "cuda/grid.h"
#include "cuda/linear_kernels.h"
#include "cuda/numbers.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 128;
constexpr int kDepth = 16;
constexpr int kRowsEach = 8;  // of a thread
// Rows of tiles are apart by more than their length, so that values of one column lie in
// different banks.
constexpr int kRowStride = kRows + 4;

// Grid: (tiles of rows x tiles of items, the latter first, slices).  weight is (rows, depth), or
// (depth, rows) where kAcross.
template <class Weight, int kItemsEach, bool kAcross>
__global__ void __launch_bounds__(kThreads, 2) linear_scalar(const LinearArguments a) {
  constexpr int kItems = 16 * kItemsEach;
  constexpr int kItemStride = kItems + 4;
  constexpr int kWeightLoads = kRows * kDepth / kThreads;
  constexpr int kInputLoads = kItems * kDepth / kThreads;
  GOTURN_SHARED(float, weights, 2 * kDepth * kRowStride);
  GOTURN_SHARED(float, inputs, 2 * kDepth * kItemStride);
  const int thread = static_cast<int>(threadIdx.x);
  const auto item_tiles = static_cast<unsigned>((a.batch + kItems - 1) / kItems);
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x / item_tiles) * kRows;
  const std::int64_t first_item = static_cast<std::int64_t>(blockIdx.x % item_tiles) * kItems;
  const int slice = static_cast<int>(blockIdx.y);
  const std::int64_t begin = slice * a.slice_depth;
  const std::int64_t end = begin + a.slice_depth < a.depth ? begin + a.slice_depth : a.depth;
  wait_for_previous_kernel();
  let_next_kernel_start();

  const auto* weight = static_cast<const Weight*>(a.weight);
  float loaded_weights[kWeightLoads];
  float loaded_inputs[kInputLoads];
  const auto load = [&](std::int64_t from) {
#pragma unroll
    for (int i = 0; i < kWeightLoads; ++i) {
      const int at = thread + i * kThreads;
      const int row = kAcross ? at % kRows : at / kDepth;
      const std::int64_t k = from + (kAcross ? at / kRows : at % kDepth);
      const std::int64_t r = first_row + row;
      const bool valid = k < end && r < a.rows;
      const std::int64_t offset = kAcross ? k * a.weight_stride + r : r * a.weight_stride + k;
      loaded_weights[i] = valid ? to_float(weight[offset]) : 0.0F;
    }
#pragma unroll
    for (int i = 0; i < kInputLoads; ++i) {
      const int at = thread + i * kThreads;
      const std::int64_t k = from + at % kDepth;
      const std::int64_t item = first_item + at / kDepth;
      loaded_inputs[i] = k < end && item < a.batch ? a.x[item * a.x_stride + k] : 0.0F;
    }
  };
  const auto store = [&](int buffer) {
#pragma unroll
    for (int i = 0; i < kWeightLoads; ++i) {
      const int at = thread + i * kThreads;
      const int row = kAcross ? at % kRows : at / kDepth;
      const int k = kAcross ? at / kRows : at % kDepth;
      weights[(buffer * kDepth + k) * kRowStride + row] = loaded_weights[i];
    }
#pragma unroll
    for (int i = 0; i < kInputLoads; ++i) {
      const int at = thread + i * kThreads;
      inputs[(buffer * kDepth + at % kDepth) * kItemStride + at / kDepth] = loaded_inputs[i];
    }
  };

  const int own_row = thread / 16 * kRowsEach;
  const int own_item = thread % 16 * kItemsEach;
  float sums[kRowsEach][kItemsEach] = {};
  if (begin < end) {
    load(begin);
    store(0);
  }
  int buffer = 0;
  for (std::int64_t from = begin; from < end; from += kDepth) {
    __syncthreads();
    const bool more = from + kDepth < end;
    if (more) load(from + kDepth);
#pragma unroll
    for (int k = 0; k < kDepth; ++k) {
      float w[kRowsEach];
      float x[kItemsEach];
#pragma unroll
      for (int i = 0; i < kRowsEach; i += 4) {
        const auto four =
            weights.template load<float4>((buffer * kDepth + k) * kRowStride + own_row + i);
        w[i] = four.x;
        w[i + 1] = four.y;
        w[i + 2] = four.z;
        w[i + 3] = four.w;
      }
#pragma unroll
      for (int i = 0; i < kItemsEach; ++i) {
        x[i] = inputs[(buffer * kDepth + k) * kItemStride + own_item + i];
      }
#pragma unroll
      for (int r = 0; r < kRowsEach; ++r) {
#pragma unroll
        for (int i = 0; i < kItemsEach; ++i) sums[r][i] = fmaf(w[r], x[i], sums[r][i]);
      }
    }
    buffer ^= 1;
    if (more) store(buffer);  // the other one: all have done with it since the barrier
  }
#pragma unroll
  for (int i = 0; i < kItemsEach; ++i) {
    const std::int64_t item = first_item + own_item + i;
#pragma unroll
    for (int r = 0; r < kRowsEach; ++r) {
      const std::int64_t row = first_row + own_row + r;
      if (row < a.rows && item < a.batch) put_sum(a, slice, item, row, sums[r][i]);
    }
  }
  add_slices(a, static_cast<int>(blockIdx.x), first_row, kRows, first_item, kItems);
}

int items_of(std::int64_t batch) { return batch <= 16 ? 16 : batch <= 32 ? 32 : 64; }

std::int64_t tiles_of(const LinearArguments& a) {
  return divide_up(a.rows, kRows) * divide_up(a.batch, items_of(a.batch));
}

template <class Weight, bool kAcross>
void launch_weight(const LinearArguments& a, Stream stream) {
  const auto start = [&](auto kernel) {
    launch("linear", kernel,
           {dim3(static_cast<unsigned>(tiles_of(a)), static_cast<unsigned>(a.slices)),
            dim3(kThreads), 0, true},
           stream, a);
  };
  switch (items_of(a.batch)) {
    case 16:
      return start(linear_scalar<Weight, 1, kAcross>);
    case 32:
      return start(linear_scalar<Weight, 2, kAcross>);
    default:
      return start(linear_scalar<Weight, 4, kAcross>);
  }
}

}  // namespace

Slices scalar_slices(const LinearArguments& a) {
  return slices_of(a.depth, tiles_of(a), kFullGrid, 256, kDepth);
}

void launch_scalar(const LinearArguments& a, Type type, Stream stream) {
  switch (type) {
    case Type::f32:
      return launch_weight<float, false>(a, stream);
    case Type::f16:
      return launch_weight<Half, false>(a, stream);
    case Type::bf16:
      return launch_weight<BFloat16, false>(a, stream);
    case Type::i8:
      return launch_weight<std::int8_t, false>(a, stream);
  }
}

void launch_scalar_across(const LinearArguments& a, Stream stream) {
  launch_weight<float, true>(a, stream);
}

}  // namespace goturn::cuda
