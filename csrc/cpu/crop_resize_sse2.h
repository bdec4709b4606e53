// The inner loops of crop_resize in SSE2, which every x86-64 processor has.
//
// Each does as much of its loop as fits its vectors and returns where it stopped; the scalar loop
// that follows does the rest, and everything where there is no SSE2.  The values are the same.
#pragma once

#if defined(__SSE2__)

#include <emmintrin.h>

#include <cstdint>
#include <cstring>

#include "crop_resize_taps.h"

namespace goturn::cpu::sse2 {

// One pixel's taps, interpolated: (b, g, r, unused) int32, still times 16.
inline __m128i interpolate_pixel(const std::uint8_t* row, const ColumnTaps& tap) {
  std::int32_t low;
  std::int32_t high;
  std::int32_t weights;
  std::memcpy(&low, row + tap.low, sizeof low);
  std::memcpy(&high, row + tap.high, sizeof high);
  std::memcpy(&weights, &tap.weights, sizeof weights);
  const __m128i bytes = _mm_unpacklo_epi8(_mm_cvtsi32_si128(low), _mm_cvtsi32_si128(high));
  const __m128i pairs = _mm_unpacklo_epi8(bytes, _mm_setzero_si128());
  return _mm_madd_epi16(pairs, _mm_set1_epi32(weights));
}

// Outputs [begin, end) of a row of interleaved pixels of 3 channels or more, four at a time, into
// planes (3, size).  Reads four bytes at each tap.
inline std::int64_t resize_columns(const std::uint8_t* row, const ColumnTaps* taps,
                                   std::int64_t begin, std::int64_t end, std::int64_t size,
                                   std::int16_t* across) {
  std::int64_t x = begin;
  for (; x + 4 <= end; x += 4) {
    const __m128i p0 = _mm_srai_epi32(interpolate_pixel(row, taps[x]), 4);
    const __m128i p1 = _mm_srai_epi32(interpolate_pixel(row, taps[x + 1]), 4);
    const __m128i p2 = _mm_srai_epi32(interpolate_pixel(row, taps[x + 2]), 4);
    const __m128i p3 = _mm_srai_epi32(interpolate_pixel(row, taps[x + 3]), 4);
    // Transpose, from four pixels of four channels to channels of four pixels.
    const __m128i p01 = _mm_packs_epi32(p0, p1);
    const __m128i p23 = _mm_packs_epi32(p2, p3);
    const __m128i even = _mm_unpacklo_epi16(p01, p23);
    const __m128i odd = _mm_unpackhi_epi16(p01, p23);
    const __m128i blue_green = _mm_unpacklo_epi16(even, odd);
    const __m128i red = _mm_unpackhi_epi16(even, odd);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(across + x), blue_green);
    _mm_storel_epi64(reinterpret_cast<__m128i*>(across + size + x), _mm_srli_si128(blue_green, 8));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(across + 2 * size + x), red);
  }
  return x;
}

// The rows' pass, eight values at a time; returns how many.
inline std::int64_t resize_rows(const std::int16_t* low, const std::int16_t* high, Weights weights,
                                float mean, std::int64_t count, float* crop) {
  const __m128i low_weight = _mm_set1_epi16(weights.low);
  const __m128i high_weight = _mm_set1_epi16(weights.high);
  const __m128i half = _mm_set1_epi16(2);
  const __m128i zero = _mm_setzero_si128();
  const __m128 means = _mm_set1_ps(mean);
  std::int64_t x = 0;
  for (; x + 8 <= count; x += 8) {
    const __m128i l = _mm_loadu_si128(reinterpret_cast<const __m128i*>(low + x));
    const __m128i h = _mm_loadu_si128(reinterpret_cast<const __m128i*>(high + x));
    const __m128i sum =
        _mm_add_epi16(_mm_mulhi_epi16(l, low_weight), _mm_mulhi_epi16(h, high_weight));
    const __m128i value = _mm_srai_epi16(_mm_add_epi16(sum, half), 2);
    const __m128 first = _mm_cvtepi32_ps(_mm_unpacklo_epi16(value, zero));
    const __m128 last = _mm_cvtepi32_ps(_mm_unpackhi_epi16(value, zero));
    _mm_storeu_ps(crop + x, _mm_sub_ps(first, means));
    _mm_storeu_ps(crop + x + 4, _mm_sub_ps(last, means));
  }
  return x;
}

}  // namespace goturn::cpu::sse2

#endif  // defined(__SSE2__)
