// Products of matrices in tiles: C (M, N) = sum over k of A (M, k) B (N, k), what every kind
// shares.
//
// A block of threads makes one kM x kN tile of C, in slices of 128 bytes of depth k: 32 floats or
// 64 halves.  Loaders copy the next slices of A and B to shared memory (cp.async, kStages of them,
// so that copies and products overlap, with one barrier a slice); an engine multiplies them into
// accumulators in registers: TensorCores (gemm_tensor.cuh) or CudaCores (gemm_scalar.cuh).
//
// In shared memory a slice of an operand is either
//
//   Order::rows     [row of A or B][k], 128 bytes a row: k is contiguous in memory
//   Order::columns  [k][row of A or B]: rows are
//
// with the 16-byte chunks of each line exchanged by a xor of their number (gemm_tensor.cuh says
// which), so that neither the copies nor the engines' loads meet in a bank.
//
// Where the tiles are too few to fill a GPU, k is split: each slice's block stores its sums, and
// the last block of a tile to finish adds those of all slices in their order, so that results
// depend on the shape alone.
#pragma once

#include <cstdint>

#include "cuda/numbers.h"
#include "cuda/platform.h"

namespace goturn::cuda {

enum class Order { rows, columns };

// A block's tile, made by kWarpsM x kWarpsN warps; kBlocks of them should fit into one
// multiprocessor.
template <int kM_, int kN_, int kWarpsM_, int kWarpsN_, int kStages_, int kBlocks_>
struct Tile {
  static constexpr int kM = kM_;
  static constexpr int kN = kN_;
  static constexpr int kWarpsM = kWarpsM_;
  static constexpr int kWarpsN = kWarpsN_;
  static constexpr int kWarpM = kM / kWarpsM;
  static constexpr int kWarpN = kN / kWarpsN;
  static constexpr int kThreads = 32 * kWarpsM * kWarpsN;
  static constexpr int kStages = kStages_;
  static constexpr int kBlocks = kBlocks_;
  static constexpr int kSharedBytes = kStages * (kM + kN) * 128;
  static_assert(kSharedBytes <= 99 * 1024);  // what a block has on sm_86, sm_89 and sm_120
};

// Values in a 16-byte chunk, and in a slice of k.
template <class T>
inline constexpr int kChunk = 16 / static_cast<int>(sizeof(T));
template <class T>
inline constexpr int kDepth = 128 / static_cast<int>(sizeof(T));

// kCount values that are loaded and stored at once.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T values[kCount];
};

// What the number of a 16-byte chunk is xored with: in Order::rows that of A's `row` (the engine
// says B's), in Order::columns that of line `k`.
__device__ __forceinline__ int row_key(int row) { return row % 8; }
template <class T>
__device__ __forceinline__ int column_key(int k) {
  return sizeof(T) == 4 ? k % 4 * 2 : k % 8;
}

// Multiplies slices `first` to first + count of k.  load_a(to, slice) and load_b(to, slice) begin
// to copy a slice to shared memory; `engine` multiplies what is there.
template <class Tile, class T, class LoadA, class LoadB, class Engine>
__device__ __forceinline__ void multiply_slices(const LoadA& load_a, const LoadB& load_b, int first,
                                                int count, Engine& engine) {
  constexpr int kSizeA = Tile::kM * kDepth<T>;
  constexpr int kSizeB = Tile::kN * kDepth<T>;
  constexpr int kAhead = Tile::kStages - 1;
  SharedMemory memory;
  const Shared<T> a = memory.take<T>(Tile::kStages * kSizeA);
  const Shared<T> b = memory.take<T>(Tile::kStages * kSizeB);
#pragma unroll
  for (int slice = 0; slice < kAhead; ++slice) {
    if (slice < count) {
      load_a(a + slice * kSizeA, first + slice);
      load_b(b + slice * kSizeB, first + slice);
    }
    copy_async_commit();
  }
  int stage = 0;
  int next_stage = kAhead;
  for (int slice = 0; slice < count; ++slice) {
    copy_async_wait<kAhead - 1>();
    __syncthreads();  // this slice is there, and the stage of the one before it is free
    if (slice + kAhead < count) {
      load_a(a + next_stage * kSizeA, first + slice + kAhead);
      load_b(b + next_stage * kSizeB, first + slice + kAhead);
    }
    copy_async_commit();
    engine.multiply(a + stage * kSizeA, b + stage * kSizeB);
    stage = stage + 1 == Tile::kStages ? 0 : stage + 1;
    next_stage = next_stage + 1 == Tile::kStages ? 0 : next_stage + 1;
  }
}

// How k is split.
struct Split {
  int slices;       // blocks that share a tile
  float* partials;  // partial_bytes() where slices > 1
  int* counters;    // one for each tile, zero before and after

  // Of `tiles` tiles of Tile.
  template <class Tile>
  static std::size_t partial_bytes(std::int64_t tiles, int slices) {
    return slices == 1 ? 0 : sizeof(float) * Tile::kM * Tile::kN * slices * tiles;
  }
};

// Slices `first` to first + count of `total`, for number `part` of `parts`.
struct Part {
  int first;
  int count;

  __host__ __device__ Part(int total, int part, int parts) {
    const int least = total / parts;
    const int more = total % parts;
    first = part * least + (part < more ? part : more);
    count = least + (part < more ? 1 : 0);
  }
};

// Whether this block is the one that writes the tile; its accumulators are then the whole sum.
//
// The accumulators are stored as they lie in registers, four a thread at a time: the same thread of
// the last block reads them.
template <class Engine>
__device__ __forceinline__ bool sum_parts(const Split& split, int tile, int part, Engine& engine) {
  if (split.slices == 1) return true;
  constexpr int kFours = Engine::kFours;
  // Where slices were, which nobody reads any more after the barrier; no memory besides, since GPUs
  // of sm_75 have none to spare.
  const Shared<int> arrived_before = SharedMemory().take<int>(1);
  const auto at = [&](int number) {
    const std::int64_t block = static_cast<std::int64_t>(tile) * split.slices + number;
    return reinterpret_cast<float4*>(split.partials) + block * kFours * Engine::kThreads +
           threadIdx.x;
  };
  float4* mine = at(part);
#pragma unroll
  for (int i = 0; i < kFours; ++i) {
    const float* four = engine.four(i);
    mine[i * Engine::kThreads] = make_float4(four[0], four[1], four[2], four[3]);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) arrived_before[0] = atomicAdd(split.counters + tile, 1);
  __syncthreads();
  if (arrived_before[0] != split.slices - 1) return false;
  __threadfence();
  engine.clear();
  for (int number = 0; number < split.slices; ++number) {
    const float4* stored = at(number);
#pragma unroll
    for (int i = 0; i < kFours; ++i) {
      const float4 value = stored[i * Engine::kThreads];
      float* four = engine.four(i);
      four[0] += value.x;
      four[1] += value.y;
      four[2] += value.z;
      four[3] += value.w;
    }
  }
  if (threadIdx.x == 0) split.counters[tile] = 0;
  return true;
}

}  // namespace goturn::cuda
