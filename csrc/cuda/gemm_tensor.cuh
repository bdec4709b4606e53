// The engine of gemm.cuh on tensor cores: TF32, three TF32 products for a float's, f16 and bf16.
//
// A warp multiplies kWarpM x kWarpN by steps of 32 bytes of k (8 floats, 16 halves), its fragments
// loaded one step ahead.
//
// In Order::rows ldmatrix loads both kinds of numbers: a row of 16 bytes is 8 halves or 4 floats,
// and lane (group, pair) gets the 32 bits number `pair` of row `group`, which is where mma expects
// them. Of B, mma column 2 i + j of an even (odd) fragment is row 4 i + j (+ 2) of 16, so that each
// thread ends up with four neighbouring columns of C and stores them at once.
//   chunk of A ^ row % 8; chunk of B ^ (row % 2 + row / 4 % 4 * 2): eight distinct ones per matrix
//
// In Order::columns halves are transposed by ldmatrix (chunk ^ k % 8) and floats are loaded one by
// one: lanes read 8 neighbours of 4 values of k (chunk ^ k % 4 * 2).
//
// TF32 three times (as CUTLASS's example 27): a = big + small in TF32 each, a b = small big' +
// big small' + big big', what is left out being 2^-22 of it.  Tensor cores truncate when they add,
// always towards zero, which over thousands of k is far above a float's error; so each slice of k
// is summed from zero, and slices are added to the total by CUDA cores, which round to nearest
// (Ootomo and Yokota, "Recovering single precision accuracy from tensor cores", 2022).
#pragma once

#include <type_traits>

#include "cuda/gemm.cuh"
#include "cuda/matrix.h"

namespace goturn::cuda {

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
inline constexpr bool kTensorCores = false;
#else
inline constexpr bool kTensorCores = true;
#endif

template <class T, Products kProducts, class Tile, Order kOrder>
class TensorCores {
  static constexpr int kFragmentsM = Tile::kWarpM / 16;
  static constexpr int kFragmentsN = Tile::kWarpN / 8;
  static constexpr int kSteps = 4;                  // of 32 bytes in a slice
  static constexpr int kStep = kDepth<T> / kSteps;  // values
  static constexpr bool kThrice = kProducts == Products::tf32x3;
  static_assert(Tile::kWarpM % 16 == 0 && Tile::kWarpN % 16 == 0);
  static_assert(kOrder == Order::rows || (Tile::kM % 64 == 0 && Tile::kN % 64 == 0));
  static_assert(std::is_same_v<T, float> == (kProducts != Products::half));

  struct Fragments {
    std::uint32_t a[kFragmentsM][4];
    std::uint32_t b[kFragmentsN][2];
  };

 public:
  static constexpr int kThreads = Tile::kThreads;
  static constexpr int kFours = kFragmentsM * kFragmentsN;
  // Neighbouring columns of C that a thread holds.
  static constexpr int kRun = kOrder == Order::rows ? 4 : 2;

  __device__ __forceinline__ static int row_key_b(int row) { return row % 2 + row / 4 % 4 * 2; }

  __device__ __forceinline__ TensorCores() {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    lane_ = static_cast<int>(threadIdx.x) % 32;
    warp_m_ = warp / Tile::kWarpsN * Tile::kWarpM;
    warp_n_ = warp % Tile::kWarpsN * Tile::kWarpN;
    clear();
  }

  __device__ __forceinline__ void clear() { clear(sums_); }
  __device__ __forceinline__ float* four(int i) { return sums_[i / kFragmentsN][i % kFragmentsN]; }

  __device__ __forceinline__ void multiply(const Shared<T>& a, const Shared<T>& b) {
    Fragments fragments[2];
    load(a, b, 0, fragments[0]);
    if constexpr (kThrice) {
      float partial[kFragmentsM][kFragmentsN][4];
      clear(partial);
      multiply_steps(a, b, fragments, partial);
#pragma unroll
      for (int m = 0; m < kFragmentsM; ++m) {
#pragma unroll
        for (int n = 0; n < kFragmentsN; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) sums_[m][n][i] += partial[m][n][i];
        }
      }
    } else {
      multiply_steps(a, b, fragments, sums_);
    }
  }

  // Calls columns(column) for each run of columns of C, then store(row, column, values) for its
  // rows.
  template <class Columns, class Store>
  __device__ __forceinline__ void visit(const Columns& columns, const Store& store) const {
    const int group = lane_ / 4;
    const int pair = lane_ % 4;
    constexpr int kJoined = kRun / 2;  // fragments whose columns are neighbours
#pragma unroll
    for (int n = 0; n < kFragmentsN; n += kJoined) {
      const int column = warp_n_ + n * 8 + pair * kRun;
      const auto state = columns(column);
#pragma unroll
      for (int m = 0; m < kFragmentsM; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float values[kRun];
#pragma unroll
          for (int i = 0; i < kRun; ++i) values[i] = sums_[m][n + i / 2][half * 2 + i % 2];
          store(state, warp_m_ + m * 16 + half * 8 + group, column, values);
        }
      }
    }
  }

 private:
  __device__ __forceinline__ static void clear(float (&sums)[kFragmentsM][kFragmentsN][4]) {
#pragma unroll
    for (int m = 0; m < kFragmentsM; ++m) {
#pragma unroll
      for (int n = 0; n < kFragmentsN; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums[m][n][i] = 0.0F;
      }
    }
  }

  __device__ __forceinline__ void multiply_steps(const Shared<T>& a, const Shared<T>& b,
                                                 Fragments (&fragments)[2],
                                                 float (&sums)[kFragmentsM][kFragmentsN][4]) const {
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (step + 1 < kSteps) load(a, b, step + 1, fragments[(step + 1) % 2]);
      if constexpr (kThrice) {
        multiply_thrice(fragments[step % 2], sums);
      } else {
        multiply_once(fragments[step % 2], sums);
      }
    }
  }

  __device__ __forceinline__ static void multiply_once(Fragments& from,
                                                       float (&sums)[kFragmentsM][kFragmentsN][4]) {
    if constexpr (kProducts == Products::tf32) {
#pragma unroll
      for (int n = 0; n < kFragmentsN; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) from.b[n][i] = to_tf32(__uint_as_float(from.b[n][i]));
      }
#pragma unroll
      for (int m = 0; m < kFragmentsM; ++m) {
#pragma unroll
        for (int i = 0; i < 4; ++i) from.a[m][i] = to_tf32(__uint_as_float(from.a[m][i]));
      }
    }
#pragma unroll
    for (int m = 0; m < kFragmentsM; ++m) {
#pragma unroll
      for (int n = 0; n < kFragmentsN; ++n) mma(sums[m][n], from.a[m], from.b[n]);
    }
  }

  __device__ __forceinline__ static void multiply_thrice(
      const Fragments& from, float (&sums)[kFragmentsM][kFragmentsN][4]) {
    std::uint32_t big_b[kFragmentsN][2];
    std::uint32_t small_b[kFragmentsN][2];
#pragma unroll
    for (int n = 0; n < kFragmentsN; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) split(from.b[n][i], big_b[n][i], small_b[n][i]);
    }
#pragma unroll
    for (int m = 0; m < kFragmentsM; ++m) {
      std::uint32_t big_a[4];
      std::uint32_t small_a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) split(from.a[m][i], big_a[i], small_a[i]);
#pragma unroll
      for (int n = 0; n < kFragmentsN; ++n) mma(sums[m][n], small_a, big_b[n]);
#pragma unroll
      for (int n = 0; n < kFragmentsN; ++n) mma(sums[m][n], big_a, small_b[n]);
#pragma unroll
      for (int n = 0; n < kFragmentsN; ++n) mma(sums[m][n], big_a, big_b[n]);
    }
  }

  // value = big + small but for the last bit of some.  big is rounded to the nearest TF32 number;
  // small, whose last bits mma does not look at, has one bit more than one at most.  An infinity's
  // small part is no number.
  __device__ __forceinline__ static void split(std::uint32_t bits, std::uint32_t& big,
                                               std::uint32_t& small) {
    big = (bits + 0x1000U) & 0xFFFFE000U;
    small = __float_as_uint(__uint_as_float(bits) - __uint_as_float(big));
  }

  __device__ __forceinline__ static void mma(float (&d)[4], const std::uint32_t (&a)[4],
                                             const std::uint32_t (&b)[2]) {
    if constexpr (std::is_same_v<T, Half>) {
      mma_f16(d, a, b);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
      mma_bf16(d, a, b);
    } else {
      mma_tf32(d, a, b);
    }
  }

  // Fragments of step number `step` of the slice.
  __device__ __forceinline__ void load(const Shared<T>& a, const Shared<T>& b, int step,
                                       Fragments& to) const {
    if constexpr (kOrder == Order::rows) {
      load_rows(a, b, step, to);
    } else if constexpr (std::is_same_v<T, float>) {
      load_column_floats(a, b, step, to);
    } else {
      load_column_halves(a, b, step, to);
    }
  }

  __device__ __forceinline__ void load_rows(const Shared<T>& a, const Shared<T>& b, int step,
                                            Fragments& to) const {
    const int row = lane_ % 8;
    const int matrix = lane_ / 8;
    const int row_a = warp_m_ + lane_ % 16;
    const int chunk_a = (step * 2 + matrix / 2) ^ row;
#pragma unroll
    for (int m = 0; m < kFragmentsM; ++m) {
      load_matrix_x4(to.a[m], a, (row_a + m * 16) * kDepth<T> + chunk_a * kChunk<T>);
    }
    const int row_b = warp_n_ + row / 2 * 4 + matrix / 2 * 2 + row % 2;
    const int chunk_b = (step * 2 + matrix % 2) ^ row;
#pragma unroll
    for (int n = 0; n < kFragmentsN; n += 2) {
      std::uint32_t both[4];
      load_matrix_x4(both, b, (row_b + n * 8) * kDepth<T> + chunk_b * kChunk<T>);
      to.b[n][0] = both[0];
      to.b[n][1] = both[1];
      to.b[n + 1][0] = both[2];
      to.b[n + 1][1] = both[3];
    }
  }

  __device__ __forceinline__ void load_column_halves(const Shared<T>& a, const Shared<T>& b,
                                                     int step, Fragments& to) const {
    const int row = lane_ % 8;
    const int matrix = lane_ / 8;
    const int k_a = step * kStep + matrix / 2 * 8 + row;
    const int chunk_a = warp_m_ / 8 + matrix % 2;
#pragma unroll
    for (int m = 0; m < kFragmentsM; ++m) {
      load_matrix_x4_transposed(to.a[m], a, k_a * Tile::kM + ((chunk_a + m * 2) ^ row) * 8);
    }
    const int k_b = step * kStep + matrix % 2 * 8 + row;
    const int chunk_b = warp_n_ / 8 + matrix / 2;
#pragma unroll
    for (int n = 0; n < kFragmentsN; n += 2) {
      std::uint32_t both[4];
      load_matrix_x4_transposed(both, b, k_b * Tile::kN + ((chunk_b + n) ^ row) * 8);
      to.b[n][0] = both[0];
      to.b[n][1] = both[1];
      to.b[n + 1][0] = both[2];
      to.b[n + 1][1] = both[3];
    }
  }

  __device__ __forceinline__ void load_column_floats(const Shared<T>& a, const Shared<T>& b,
                                                     int step, Fragments& to) const {
    const int group = lane_ / 4;
    const int pair = lane_ % 4;
    const int key = pair * 2;
    const auto load = [&](const Shared<T>& from, int rows, int k, int row) {
      return __float_as_uint(from[k * rows + ((row / 4) ^ key) * 4 + row % 4]);
    };
#pragma unroll
    for (int m = 0; m < kFragmentsM; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        to.a[m][i] = load(a, Tile::kM, step * kStep + pair + i / 2 * 4,
                          warp_m_ + m * 16 + i % 2 * 8 + group);
      }
    }
#pragma unroll
    for (int n = 0; n < kFragmentsN; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        to.b[n][i] = load(b, Tile::kN, step * kStep + pair + i * 4, warp_n_ + n * 8 + group);
      }
    }
  }

  int lane_;
  int warp_m_;
  int warp_n_;
  float sums_[kFragmentsM][kFragmentsN][4];
};

}  // namespace goturn::cuda
