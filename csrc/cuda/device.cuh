// What kernels share: numbers of 8 bits, sums over a warp, loads that leave the caches to others.
#pragma once

#include <cstdint>

#include "cuda/numbers.h"
#include "cuda/platform.h"

namespace goturn::cuda {

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xFFFFFFFFU;

__device__ __forceinline__ float to_float(std::int8_t value) { return static_cast<float>(value); }

// 16 bytes that are read once, and are the first to leave the caches again.
__device__ __forceinline__ uint4 load_streaming(const void* from) {
  return __ldcs(static_cast<const uint4*>(from));
}

// The sums over a warp's 32 lanes of kCount values of each, a power of two up to 32: lane l returns
// the sum of value l / (32 / kCount).  Each step halves the values that a lane still adds up, so
// that it takes about kCount shuffles instead of 5 kCount.
template <int kCount>
__device__ __forceinline__ float warp_sums(const float* values) {
  static_assert(kCount >= 1 && kCount <= kWarp && (kCount & (kCount - 1)) == 0);
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  float sums[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) sums[i] = values[i];
  int count = kCount;
#pragma unroll
  for (int distance = kWarp / 2; distance >= 1; distance /= 2) {
    const bool upper = (lane & distance) != 0;
    if (count > 1) {
      count /= 2;
#pragma unroll
      for (int i = 0; i < kCount / 2; ++i) {
        if (i >= count) break;
        const float sent = upper ? sums[i] : sums[i + count];
        const float kept = upper ? sums[i + count] : sums[i];
        sums[i] = kept + __shfl_xor_sync(kAllLanes, sent, distance);
      }
    } else {
      sums[0] += __shfl_xor_sync(kAllLanes, sums[0], distance);
    }
  }
  return sums[0];
}

}  // namespace goturn::cuda
