// The transposing half of gemm's packing in SSE2, which every x86-64 processor has.
#pragma once

#if defined(__SSE2__)

#include <xmmintrin.h>

#include <cstdint>

namespace goturn::cpu::sse2 {

// to[k * to_stride + i] = from[i * from_stride + k] for i of [0, 4) and k of [0, 4).
inline void transpose_4x4(const float* from, std::int64_t from_stride, float* to,
                          std::int64_t to_stride) {
  __m128 row0 = _mm_loadu_ps(from);
  __m128 row1 = _mm_loadu_ps(from + from_stride);
  __m128 row2 = _mm_loadu_ps(from + 2 * from_stride);
  __m128 row3 = _mm_loadu_ps(from + 3 * from_stride);
  _MM_TRANSPOSE4_PS(row0, row1, row2, row3);
  _mm_storeu_ps(to, row0);
  _mm_storeu_ps(to + to_stride, row1);
  _mm_storeu_ps(to + 2 * to_stride, row2);
  _mm_storeu_ps(to + 3 * to_stride, row3);
}

}  // namespace goturn::cpu::sse2

#endif  // defined(__SSE2__)
