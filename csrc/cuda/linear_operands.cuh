// Operands of linear's tensor-core products: how numbers of each type become those of an mma
// instruction, and the products of them.
//
// tf32 and half round both operands.  tf32x3 splits each into two tf32 numbers, and drops the
// product of the two small ones: nearly exact products.  Weights of int8 are exact in tf32, so that
// only the items are split, into two, and no product is dropped.
#pragma once

#include "cuda/device.cuh"
#include "cuda/matrix.h"
#include "cuda/numbers.h"

namespace goturn::cuda::linear_matrix {

// How products are formed of each type of weight.
enum class Form { tf32, tf32x3, half, int8 };

// What 16 products' depth of a lane, 4 of its own, are as operands: steps of an mma instruction.
template <Form kForm>
inline constexpr int kSteps = kForm == Form::half ? 1 : 2;
template <Form kForm>
inline constexpr bool kSplitItems = kForm == Form::tf32x3 || kForm == Form::int8;

// A number as two of tf32.
__device__ __forceinline__ void split(float value, std::uint32_t& big, std::uint32_t& small) {
  big = to_tf32(value);
  small = to_tf32(value - __uint_as_float(big));
}

// Operands of one 16 x 16 block of weights, for a lane: rows group and group + 8, four products
// each.
template <Form kForm>
struct WeightBlock {
  std::uint32_t big[kSteps<kForm>][4];
  std::uint32_t small[kForm == Form::tf32x3 ? kSteps<kForm> : 1][4];

  // In float: upper is the row `group`, lower `group + 8`.
  __device__ __forceinline__ void set(const float (&upper)[4], const float (&lower)[4]) {
#pragma unroll
    for (int s = 0; s < kSteps<kForm>; ++s) {
      const float values[4] = {upper[2 * s], lower[2 * s], upper[2 * s + 1], lower[2 * s + 1]};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (kForm == Form::tf32x3) {
          split(values[i], big[s][i], small[s][i]);
        } else if constexpr (kForm == Form::int8) {
          big[s][i] = __float_as_uint(values[i]);  // exact
        } else {
          big[s][i] = to_tf32(values[i]);
        }
      }
    }
  }
};

template <Form kForm>
struct ItemBlock {
  std::uint32_t big[kSteps<kForm>][2];
  std::uint32_t small[kSplitItems<kForm> ? kSteps<kForm> : 1][2];

  template <class Weight>
  __device__ __forceinline__ void set(const float4& x) {
    if constexpr (kForm == Form::half) {
      big[0][0] = pack<Weight>(x.x, x.y);
      big[0][1] = pack<Weight>(x.z, x.w);
    } else {
      const float values[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if constexpr (kSplitItems<kForm>) {
          split(values[i], big[i / 2][i % 2], small[i / 2][i % 2]);
        } else {
          big[i / 2][i % 2] = to_tf32(values[i]);
        }
      }
    }
  }
};

__device__ __forceinline__ void mma_half(float (&d)[4], const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[2], Half) {
  mma_f16(d, a, b);
}
__device__ __forceinline__ void mma_half(float (&d)[4], const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[2], BFloat16) {
  mma_bf16(d, a, b);
}

// Products of a number's parts, by falling size: big big, big small, small big.
template <Form kForm>
inline constexpr int kTerms = kForm == Form::tf32x3 ? 3
                              : kForm == Form::int8 ? 2
                                                    : 1;

// d += weights times items, one step and term of it.
template <class Weight, Form kForm>
__device__ __forceinline__ void multiply(float (&d)[4], const WeightBlock<kForm>& weights,
                                         const ItemBlock<kForm>& items, int step, int term) {
  if constexpr (kForm == Form::half) {
    mma_half(d, weights.big[0], items.big[0], Weight{});
  } else if constexpr (kTerms<kForm> == 1) {
    mma_tf32(d, weights.big[step], items.big[step]);
  } else if constexpr (kTerms<kForm> == 2) {
    mma_tf32(d, weights.big[step], term == 0 ? items.big[step] : items.small[step]);
  } else {
    mma_tf32(d, term == 2 ? weights.small[step] : weights.big[step],
             term == 1 ? items.small[step] : items.big[step]);
  }
}

// The blocks of four products each, part `part` of the 16 bytes that a lane loads of two rows.
template <class Weight, Form kForm>
__device__ __forceinline__ void set_weights(const std::uint32_t (&upper)[4],
                                            const std::uint32_t (&lower)[4], int part,
                                            WeightBlock<kForm>& block) {
  if constexpr (kForm == Form::half) {
    block.big[0][0] = upper[2 * part];
    block.big[0][1] = lower[2 * part];
    block.big[0][2] = upper[2 * part + 1];
    block.big[0][3] = lower[2 * part + 1];
  } else {
    float high[4];
    float low[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (kForm == Form::int8) {
        high[i] = to_float(static_cast<std::int8_t>(upper[part] >> 8 * i & 0xFFU));
        low[i] = to_float(static_cast<std::int8_t>(lower[part] >> 8 * i & 0xFFU));
      } else {
        high[i] = __uint_as_float(upper[i]);
        low[i] = __uint_as_float(lower[i]);
      }
    }
    block.set(high, low);
  }
}

}  // namespace goturn::cuda::linear_matrix
