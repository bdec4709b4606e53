// linear for a few rows of x: the weights stream past once, at the speed of memory.
//
// Floor: the bytes of the weights over the bandwidth (fc6 in fp32: 302 MB; 2 FLOP for 4 bytes).
//
// A block computes kRows rows of the weight for all rows of x; its threads share the depth, 16
// bytes of each row a thread at a time, and kRows * kUnroll = 8 such loads are on their way in each
// thread before one is used: 32 KB a block of 256 threads, of which two or more fit on a
// multiprocessor. x is not staged in shared memory: each thread needs its own slice of it alone,
// which it reads from L1, where the blocks of a multiprocessor keep it, since the weights pass by
// it (__ldcs).  Sums of threads are added by shuffles, sums of warps in order.  The last layer,
// with as few rows as 4, and matrices too small to fill the GPU have one row a block instead, and
// several blocks a row.
//
// Where the next layer's kernel starts early, its first weights go to L2 while this one ends.

#include <algorithm>

#include "cuda/device.cuh"
#include "cuda/grid.h"
#include "cuda/linear_kernels.h"
#include "cuda/numbers.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 256;

// What a thread takes of a row at a time: 16 bytes, or one value where alignment forbids.
template <class Weight, bool kVector>
struct Piece;

template <class Weight>
struct Piece<Weight, false> {
  static constexpr int kCount = 1;
  using Loaded = Weight;
  static __device__ __forceinline__ Loaded zero() { return Weight{}; }
  static __device__ __forceinline__ Loaded load(const Weight* from) { return *from; }
  static __device__ __forceinline__ void load_x(const float* from, bool valid, float (&to)[1]) {
    to[0] = valid ? *from : 0.0F;
  }
  static constexpr int kStep = 1;  // values at a time that are converted and multiplied
  static __device__ __forceinline__ void convert(const Loaded& piece, int, float (&to)[1]) {
    to[0] = to_float(piece);
  }
};

template <class Weight>
struct Piece<Weight, true> {
  static constexpr int kCount = 16 / static_cast<int>(sizeof(Weight));
  using Loaded = uint4;
  static __device__ __forceinline__ Loaded zero() { return make_uint4(0, 0, 0, 0); }
  static __device__ __forceinline__ Loaded load(const Weight* from) { return load_streaming(from); }
  static constexpr int kStep = 4;
  static __device__ __forceinline__ void load_x(const float* from, bool valid, float (&to)[4]) {
    const float4 x =
        valid ? *reinterpret_cast<const float4*>(from) : make_float4(0.0F, 0.0F, 0.0F, 0.0F);
    to[0] = x.x;
    to[1] = x.y;
    to[2] = x.z;
    to[3] = x.w;
  }
  // Values 4 step to 4 step + 3.
  static __device__ __forceinline__ void convert(const Loaded& piece, int step, float (&to)[4]) {
    const std::uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int value = 4 * step + i;
      constexpr int kPerWord = kCount / 4;
      const std::uint32_t bits =
          words[value / kPerWord] >> (value % kPerWord * 8 * static_cast<int>(sizeof(Weight)));
      to[i] = bits_to_float(bits, Weight{});
    }
  }

 private:
  static __device__ __forceinline__ float bits_to_float(std::uint32_t bits, float) {
    return __uint_as_float(bits);
  }
  static __device__ __forceinline__ float bits_to_float(std::uint32_t bits, Half) {
    return to_float(Half{static_cast<std::uint16_t>(bits)});
  }
  static __device__ __forceinline__ float bits_to_float(std::uint32_t bits, BFloat16) {
    return to_float(BFloat16{static_cast<std::uint16_t>(bits)});
  }
  static __device__ __forceinline__ float bits_to_float(std::uint32_t bits, std::int8_t) {
    return static_cast<float>(static_cast<std::int8_t>(bits & 0xFFU));
  }
};

// Blocks that a multiprocessor has registers for: the sums of eight items take them all.
constexpr int blocks_of(int batch) { return batch == 1 ? 4 : batch == 2 ? 3 : batch <= 4 ? 2 : 1; }

// Grid: (tiles of kRows rows, slices).  batch <= kBatch; rows beyond the batch or the weight are
// the last one once more, and not stored.
template <class Weight, int kBatch, int kRows, int kUnroll, bool kVector>
__global__ void __launch_bounds__(kThreads, blocks_of(kBatch)) gemv(const LinearArguments a) {
  using P = Piece<Weight, kVector>;
  constexpr int kSums = kRows * kBatch;
  GOTURN_SHARED(float, warps, kThreads / kWarp * kSums);
  const int thread = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) * kRows;
  const int slice = static_cast<int>(blockIdx.y);
  const std::int64_t begin = slice * a.slice_depth / P::kCount;
  const std::int64_t left = a.depth / P::kCount - begin;
  const auto pieces =
      static_cast<int>(left < a.slice_depth / P::kCount ? left : a.slice_depth / P::kCount);

  const Weight* rows[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const std::int64_t row = first_row + r < a.rows ? first_row + r : a.rows - 1;
    rows[r] = static_cast<const Weight*>(a.weight) + row * a.weight_stride + begin * P::kCount;
  }
  if constexpr (kVector) {
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int piece = thread + u * threads;
      if (piece >= pieces) break;
#pragma unroll
      for (int r = 0; r < kRows; ++r) prefetch_l2(rows[r] + piece * P::kCount);
    }
  }
  wait_for_previous_kernel();
  let_next_kernel_start();

  const float* x[kBatch];
#pragma unroll
  for (int n = 0; n < kBatch; ++n) {
    const std::int64_t item = n < a.batch ? n : a.batch - 1;
    x[n] = a.x + item * a.x_stride + begin * P::kCount;
  }
  float sums[kSums] = {};
  for (int first = thread; first < pieces; first += threads * kUnroll) {
    typename P::Loaded loaded[kUnroll][kRows];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int piece = first + u * threads;
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        loaded[u][r] = piece < pieces ? P::load(rows[r] + piece * P::kCount) : P::zero();
      }
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int piece = first + u * threads;
#pragma unroll
      for (int step = 0; step < P::kCount / P::kStep; ++step) {
        float values[kRows][P::kStep];
#pragma unroll
        for (int r = 0; r < kRows; ++r) P::convert(loaded[u][r], step, values[r]);
#pragma unroll
        for (int n = 0; n < kBatch; ++n) {
          float inputs[P::kStep];
          P::load_x(x[n] + piece * P::kCount + step * P::kStep, piece < pieces, inputs);
#pragma unroll
          for (int r = 0; r < kRows; ++r) {
#pragma unroll
            for (int i = 0; i < P::kStep; ++i) {
              sums[r * kBatch + n] = fmaf(values[r][i], inputs[i], sums[r * kBatch + n]);
            }
          }
        }
      }
    }
  }

  constexpr int kAtOnce = kSums < kWarp ? kSums : kWarp;
  const int warp = thread / kWarp;
  const int lane = thread % kWarp;
#pragma unroll
  for (int i = 0; i < kSums; i += kAtOnce) {
    const float sum = warp_sums<kAtOnce>(sums + i);
    constexpr int kLanes = kWarp / kAtOnce;
    if (lane % kLanes == 0) warps[warp * kSums + i + lane / kLanes] = sum;
  }
  __syncthreads();
  for (int i = thread; i < kSums; i += threads) {
    const std::int64_t row = first_row + i / kBatch;
    const int item = i % kBatch;
    if (row >= a.rows || item >= a.batch) continue;
    float sum = 0;
    for (int w = 0; w < threads / kWarp; ++w) sum += warps[w * kSums + i];
    put_sum(a, slice, item, row, sum);
  }
  add_slices(a, static_cast<int>(blockIdx.x), first_row, kRows, 0, kBatch);
}

constexpr int kLoads = 8;  // on their way in a thread

// Rows of a tile.  Of int8 a row of 4096 is no more than a piece for each thread.
constexpr int tile_rows(Type type, std::int64_t batch) {
  return type == Type::i8 && batch <= 4 ? 8 : 4;
}

// Whether a block takes one row alone: where there are few of them, and where pieces are not of 16
// bytes, which is for matrices of odd sizes and need not be fast.
bool single_rows(const LinearArguments& a, Type type, bool vectors) {
  return !vectors || a.rows < 2 * kFullGrid * tile_rows(type, a.batch);
}

template <class Weight>
constexpr Type kType = Type::f32;
template <>
constexpr Type kType<Half> = Type::f16;
template <>
constexpr Type kType<BFloat16> = Type::bf16;
template <>
constexpr Type kType<std::int8_t> = Type::i8;

template <class Weight, int kBatch>
void launch_batch(const LinearArguments& a, bool vectors, Stream stream) {
  const auto start = [&](auto kernel, int rows, int piece) {
    // No more warps than there are pieces for.
    const std::int64_t pieces = divide_up(std::min(a.slice_depth, a.depth), piece);
    const std::int64_t warps =
        std::clamp<std::int64_t>(divide_up(pieces, kWarp), 1, kThreads / kWarp);
    launch("linear", kernel,
           {dim3(static_cast<unsigned>(divide_up(a.rows, rows)), static_cast<unsigned>(a.slices)),
            dim3(static_cast<unsigned>(warps) * kWarp), 0, true},
           stream, a);
  };
  constexpr int kPiece = 16 / static_cast<int>(sizeof(Weight));
  constexpr int kRows = tile_rows(kType<Weight>, kBatch);
  if (!vectors) {
    start(gemv<Weight, kBatch, 1, kLoads, false>, 1, 1);
  } else if (single_rows(a, kType<Weight>, vectors)) {
    // As many pieces at once as their values and the items' fit the registers with.
    constexpr int kUnroll = std::clamp(32 / kBatch * 4 / kPiece, 1, kLoads / 2);
    start(gemv<Weight, kBatch, 1, kUnroll, true>, 1, kPiece);
  } else {
    start(gemv<Weight, kBatch, kRows, kLoads / kRows, true>, kRows, kPiece);
  }
}

template <class Weight>
void launch_weight(const LinearArguments& a, bool vectors, Stream stream) {
  if (a.batch == 1) return launch_batch<Weight, 1>(a, vectors, stream);
  if (a.batch == 2) return launch_batch<Weight, 2>(a, vectors, stream);
  if (a.batch <= 4) return launch_batch<Weight, 4>(a, vectors, stream);
  launch_batch<Weight, kMaxGemvBatch>(a, vectors, stream);
}

}  // namespace

Slices gemv_slices(const LinearArguments& a, Type type, bool vectors) {
  const int rows = single_rows(a, type, vectors) ? 1 : tile_rows(type, a.batch);
  // 4096: 16 values for each thread.
  return slices_of(a.depth, divide_up(a.rows, rows), kFullGrid, 4096, 16);
}

void launch_gemv(const LinearArguments& a, Type type, bool vectors, Stream stream) {
  switch (type) {
    case Type::f32:
      return launch_weight<float>(a, vectors, stream);
    case Type::f16:
      return launch_weight<Half>(a, vectors, stream);
    case Type::bf16:
      return launch_weight<BFloat16>(a, vectors, stream);
    case Type::i8:
      return launch_weight<std::int8_t>(a, vectors, stream);
  }
}

}  // namespace goturn::cuda
