// bfloat16 as bits: the upper half of a float.
#pragma once

#include <cstdint>
#include <cstring>

namespace goturn::cpu {

// The nearest bfloat16, ties to even: the upper half, after adding just under half of its last bit,
// or half where that bit is odd.
inline std::uint16_t bf16_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  constexpr std::uint32_t quiet = 0x40;  // in a NaN the carry could end up in the sign
  if (value != value) return static_cast<std::uint16_t>(bits >> 16 | quiet);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float float_of(std::uint16_t bf16) {
  const std::uint32_t bits = std::uint32_t{bf16} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace goturn::cpu
