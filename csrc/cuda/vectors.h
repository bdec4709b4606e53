// Neighbouring values of any type, loaded and stored at once and computed with in float.
#pragma once

#include "cuda/numbers.h"
#include "cuda/platform.h"

namespace goturn::cuda {

// Values of type T in 16 bytes: 4 floats, 8 halves.
template <class T>
inline constexpr int kVector = 16 / static_cast<int>(sizeof(T));

template <class T, int kCount>
struct alignas(kCount * sizeof(T)) Packed {
  T values[kCount];
};

template <int kCount, class T>
__device__ __forceinline__ void load_vector(const T* from, float (&to)[kCount]) {
  const auto packed = *reinterpret_cast<const Packed<T, kCount>*>(from);
#pragma unroll
  for (int i = 0; i < kCount; ++i) to[i] = to_float(packed.values[i]);
}

// Each value rounded to T.
template <int kCount, class T>
__device__ __forceinline__ void store_vector(const float (&from)[kCount], T* to) {
  Packed<T, kCount> packed;
#pragma unroll
  for (int i = 0; i < kCount; ++i) packed.values[i] = from_float<T>(from[i]);
  *reinterpret_cast<Packed<T, kCount>*>(to) = packed;
}

}  // namespace goturn::cuda
