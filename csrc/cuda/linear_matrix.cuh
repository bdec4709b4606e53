// linear for batches on tensor cores: the weights, which are the large matrix, stream past once for
// up to 64 items of the batch.
//
// Floor: the bytes of the weights over the bandwidth (fc6 in fp32: 302 MB), up to the batch where
// the products take longer (with three tf32 products each, 60 rows).
//
// A block of 4 warps computes 64 or 128 rows of the weight, 16 or 32 a warp, for all items; they
// are the rows of the product's first operand, the items its columns.  Tiles of 128 bytes of each
// row and of as many values of each item come to shared memory by cp.async, kStages of them in a
// ring.
//
// Which product of the sum a lane multiplies is free as long as both operands agree: a lane takes
// 16 bytes of a row at once and from them the operands of several steps, where the PTX manual has
// it take single values far apart.  So loads from shared memory are of 16 bytes, but of weights
// (depth, rows), which lie across.  Rows and items are in places permuted by an exclusive or, so
// that what a warp reads at once lies in all 32 banks.
//
// Tensor cores truncate when they add, so that long sums lose up to a unit of the last place at
// each step, always towards zero.  Where operands are split, to be as exact as floats, each 16
// products are therefore summed from zero and added to the total on CUDA cores, which round to
// nearest.
#pragma once

#include "cuda/device.cuh"
#include "cuda/grid.h"
#include "cuda/linear_kernels.h"
#include "cuda/linear_operands.cuh"

namespace goturn::cuda::linear_matrix {

inline constexpr int kWarps = 4;
inline constexpr int kThreads = kWarps * kWarp;

template <class Weight, Form kForm_, int kItemTiles_, int kRowTiles_, bool kAcross_>
struct Tile {
  static constexpr Form kForm = kForm_;
  static constexpr bool kAcross = kAcross_;
  static constexpr int kItemTiles = kItemTiles_;  // of 8 items
  static constexpr int kRowTiles = kRowTiles_;    // of 16 rows, of a warp
  static constexpr int kItems = 8 * kItemTiles;
  static constexpr int kRows = 16 * kRowTiles * kWarps;
  static constexpr int kUnit = 16 / static_cast<int>(sizeof(Weight));  // weights in 16 bytes
  static constexpr int kDepth = 8 * kUnit;                             // 128 bytes
  static constexpr int kParts = kUnit / 4;  // 16 bytes of an item to 16 bytes of weights
  static constexpr int kItemUnits = kDepth / 4;
  static constexpr int kStageBytes = kRows * 128 + kItems * kDepth * 4;
  static constexpr int kStages = 96 * 1024 / kStageBytes < 4 ? 96 * 1024 / kStageBytes : 4;
  static_assert(kStages >= 2);
  // In shared memory: where unit `unit` of row or item `row` is.
  static __device__ __forceinline__ int weight_at(int row, int unit) {
    return row * kDepth + (unit ^ (row & 1) << 2) * kUnit;
  }
  // Of (depth, rows): the four rows from 4 `unit` of product k.
  static __device__ __forceinline__ int across_at(int k, int unit) {
    return k * kRows + (unit ^ (k >> 2 & 3) << 1) * 4;
  }
  static __device__ __forceinline__ int item_at(int item, int unit) {
    int swizzled = unit;
    if (kParts == 1) swizzled ^= (item & 1) << 2;
    if (kParts == 2) swizzled ^= item & 1;
    if (kParts == 4) swizzled ^= (unit >> 3 & 1) ^ (item & 1) << 1;
    return item * kDepth + swizzled * 4;
  }
};

template <class Weight>
__device__ __forceinline__ void load_unit(const Shared<Weight>& from, int index,
                                          std::uint32_t (&to)[4]) {
  const auto unit = from.template load<uint4>(index);
  to[0] = unit.x;
  to[1] = unit.y;
  to[2] = unit.z;
  to[3] = unit.w;
}

// Grid: (tiles of rows x tiles of items, the latter first, slices).
template <class Weight, class T>
__global__ void __launch_bounds__(kThreads, 2) linear_matrix(const LinearArguments a) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
  __trap();  // never chosen there, and not compiled for nothing
#else
  constexpr Form kForm = T::kForm;
  constexpr int kPair = T::kItemTiles > 1 ? 2 : 1;  // tiles of items at a time
  SharedMemory memory;
  const auto weights = memory.take<Weight>(T::kStages * T::kRows * T::kDepth);
  const auto inputs = memory.take<float>(T::kStages * T::kItems * T::kDepth);

  const int thread = static_cast<int>(threadIdx.x);
  const auto item_tiles = static_cast<unsigned>((a.batch + T::kItems - 1) / T::kItems);
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x / item_tiles) * T::kRows;
  const std::int64_t first_item = static_cast<std::int64_t>(blockIdx.x % item_tiles) * T::kItems;
  const int slice = static_cast<int>(blockIdx.y);
  const std::int64_t begin = slice * a.slice_depth;
  const std::int64_t end = begin + a.slice_depth < a.depth ? begin + a.slice_depth : a.depth;
  const auto count = static_cast<int>((end - begin + T::kDepth - 1) / T::kDepth);
  const auto* const weight = static_cast<const Weight*>(a.weight);

  // Of the items there are, rounded up to whole pairs of tiles; the rest is not computed.
  const std::int64_t left = a.batch - first_item;
  constexpr int kRounded = 8 * kPair;
  const int items =
      left < T::kItems ? (static_cast<int>(left) + kRounded - 1) / kRounded * kRounded : T::kItems;

  // Lines of 128 bytes of the first tiles, before what they are multiplied with is there.
  constexpr int kLines = T::kAcross ? T::kDepth * (T::kRows / 32) : T::kRows;
  for (int at = thread; at < kLines * (T::kStages - 1); at += kThreads) {
    const int line = at % kLines;
    const std::int64_t tile = begin + at / kLines * T::kDepth;
    const std::int64_t row = first_row + (T::kAcross ? line % (T::kRows / 32) * 32 : line);
    const std::int64_t k = tile + (T::kAcross ? line / (T::kRows / 32) : 0);
    if (row < a.rows && k < end) {
      prefetch_l2(weight + (T::kAcross ? k * a.weight_stride + row : row * a.weight_stride + k));
    }
  }
  wait_for_previous_kernel();
  let_next_kernel_start();

  const auto load = [&](int tile) {
    const int stage = tile % T::kStages;
    const std::int64_t from = begin + static_cast<std::int64_t>(tile) * T::kDepth;
    constexpr int kWeightLoads = T::kRows * 8 / kThreads;
#pragma unroll
    for (int i = 0; i < kWeightLoads; ++i) {
      const int at = thread + i * kThreads;
      std::int64_t row = 0;
      std::int64_t k = 0;
      int place = stage * T::kRows * T::kDepth;
      if constexpr (T::kAcross) {
        constexpr int kUnits = T::kRows / 4;
        row = first_row + at % kUnits * 4;
        k = from + at / kUnits;
        place += T::across_at(at / kUnits, at % kUnits);
      } else {
        row = first_row + at / 8;
        k = from + at % 8 * T::kUnit;
        place += T::weight_at(at / 8, at % 8);
      }
      const bool valid = row < a.rows && k < end;
      const std::int64_t offset =
          T::kAcross ? k * a.weight_stride + row : row * a.weight_stride + k;
      copy_async<16>(weights, place, weight + (valid ? offset : 0), valid);
    }
    constexpr int kItemLoads = (T::kItems * T::kItemUnits + kThreads - 1) / kThreads;
#pragma unroll
    for (int i = 0; i < kItemLoads; ++i) {
      const int at = thread + i * kThreads;
      const int item = at / T::kItemUnits;
      if (item >= items) break;
      const std::int64_t k = from + at % T::kItemUnits * 4;
      const bool valid = first_item + item < a.batch && k < end;
      const std::int64_t offset = (first_item + item) * a.x_stride + k;
      copy_async<16>(inputs, stage * T::kItems * T::kDepth + T::item_at(item, at % T::kItemUnits),
                     a.x + (valid ? offset : 0), valid);
    }
  };

  const int lane = thread % kWarp;
  const int group = lane / 4;
  const int pair = lane % 4;
  const int own_row = thread / kWarp * 16 * T::kRowTiles + group;
  float sums[T::kRowTiles][T::kItemTiles][4] = {};

#pragma unroll
  for (int tile = 0; tile < T::kStages - 1; ++tile) {
    if (tile < count) load(tile);
    copy_async_commit();
  }
  for (int tile = 0; tile < count; ++tile) {
    copy_async_wait<T::kStages - 2>();
    __syncthreads();  // the tile is there, and all have done with the one before it
    if (tile + T::kStages - 1 < count) load(tile + T::kStages - 1);
    copy_async_commit();
    const int stage = tile % T::kStages;
    const auto tile_weights = weights + stage * T::kRows * T::kDepth;
    const auto tile_inputs = inputs + stage * T::kItems * T::kDepth;
#pragma unroll T::kParts < 4 ? 2 : 1
    for (int half = 0; half < 2; ++half) {
      std::uint32_t units[T::kRowTiles][2][4];
#pragma unroll
      for (int r = 0; r < T::kRowTiles; ++r) {
#pragma unroll
        for (int lower = 0; lower < 2; ++lower) {
          const int row = own_row + 16 * r + 8 * lower;
          if constexpr (T::kAcross) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {
              const float value =
                  tile_weights[T::across_at(16 * half + 4 * pair + i, row / 4) + row % 4];
              units[r][lower][i] = __float_as_uint(value);
            }
          } else {
            load_unit(tile_weights, T::weight_at(row, 4 * half + pair), units[r][lower]);
          }
        }
      }
#pragma unroll
      for (int part = 0; part < T::kParts; ++part) {
        WeightBlock<kForm> blocks[T::kRowTiles];
#pragma unroll
        for (int r = 0; r < T::kRowTiles; ++r) {
          set_weights<Weight, kForm>(units[r][0], units[r][1], part, blocks[r]);
        }
#pragma unroll
        for (int n = 0; n < T::kItemTiles; n += kPair) {
          if (8 * n >= items) break;
          ItemBlock<kForm> columns[kPair];
#pragma unroll
          for (int p = 0; p < kPair; ++p) {
            const int unit = (4 * half + pair) * T::kParts + part;
            columns[p].template set<Weight>(
                tile_inputs.template load<float4>(T::item_at(8 * (n + p) + group, unit)));
          }
          float total[kPair][T::kRowTiles][4] = {};
          // The largest last.  Neighbouring instructions do not wait for each other.
#pragma unroll
          for (int term = kTerms<kForm> - 1; term >= 0; --term) {
#pragma unroll
            for (int step = 0; step < kSteps<kForm>; ++step) {
#pragma unroll
              for (int p = 0; p < kPair; ++p) {
#pragma unroll
                for (int r = 0; r < T::kRowTiles; ++r) {
                  multiply<Weight, kForm>(kTerms<kForm> > 1 ? total[p][r] : sums[r][n + p],
                                          blocks[r], columns[p], step, term);
                }
              }
            }
          }
          if constexpr (kTerms<kForm> > 1) {
#pragma unroll
            for (int p = 0; p < kPair; ++p) {
#pragma unroll
              for (int r = 0; r < T::kRowTiles; ++r) {
#pragma unroll
                for (int i = 0; i < 4; ++i) sums[r][n + p][i] += total[p][r][i];
              }
            }
          }
        }
      }
    }
  }

#pragma unroll
  for (int n = 0; n < T::kItemTiles; ++n) {
#pragma unroll
    for (int r = 0; r < T::kRowTiles; ++r) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const std::int64_t row = first_row + own_row + 16 * r + i / 2 * 8;
        const std::int64_t item = first_item + 8 * n + 2 * pair + i % 2;
        if (row < a.rows && item < a.batch) put_sum(a, slice, item, row, sums[r][n][i]);
      }
    }
  }
  add_slices(a, static_cast<int>(blockIdx.x), first_row, T::kRows, first_item, T::kItems);
#endif
}

// Tiles of 8 items and of 16 rows a warp.
struct Sizes {
  int item_tiles;
  int row_tiles;
};
inline Sizes sizes_of(std::int64_t batch) {
  if (batch <= 8) return {1, 1};
  return batch <= 32 ? Sizes{4, 2} : Sizes{8, 2};
}

inline std::int64_t tiles_of(const LinearArguments& a) {
  const Sizes sizes = sizes_of(a.batch);
  return divide_up(a.rows, 16 * sizes.row_tiles * kWarps) *
         divide_up(a.batch, 8 * sizes.item_tiles);
}

template <class Weight, Form kForm, bool kAcross = false>
void launch_form(const LinearArguments& a, Stream stream) {
  const auto start = [&](auto tile) {
    using T = decltype(tile);
    launch("linear", linear_matrix<Weight, T>,
           {dim3(static_cast<unsigned>(tiles_of(a)), static_cast<unsigned>(a.slices)),
            dim3(kThreads), T::kStages * T::kStageBytes, true},
           stream, a);
  };
  switch (sizes_of(a.batch).item_tiles) {
    case 1:
      return start(Tile<Weight, kForm, 1, 1, kAcross>{});
    case 4:
      return start(Tile<Weight, kForm, 4, 2, kAcross>{});
    default:
      return start(Tile<Weight, kForm, 8, 2, kAcross>{});
  }
}

}  // namespace goturn::cuda::linear_matrix
