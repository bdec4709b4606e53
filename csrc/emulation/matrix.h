// What csrc/cuda/matrix.h names, for the emulation.
#pragma once

#include <cstdint>

#include "emulation/platform.h"

namespace goturn::cuda {

template <class T>
void load_matrix_x4(std::uint32_t (&to)[4], const Shared<T>& from, int index) {
  emulation::load_matrix(emulation::Operation::load_matrix, to, from.address(index, 16));
}

template <class T>
void load_matrix_x4_transposed(std::uint32_t (&to)[4], const Shared<T>& from, int index) {
  emulation::load_matrix(emulation::Operation::load_matrix_transposed, to, from.address(index, 16));
}

inline std::uint32_t to_tf32(float value) {
  const std::uint32_t bits = __float_as_uint(value);
  if ((bits & 0x7F800000U) == 0x7F800000U) {
    return (bits & 0x7FFFFFU) == 0 ? bits : 0x7FFFFFFFU;  // one NaN
  }
  return (bits + 0x1000U) & 0xFFFFE000U;
}

inline void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulation::mma(emulation::Operation::mma_tf32, d, a, b);
}
inline void mma_f16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulation::mma(emulation::Operation::mma_f16, d, a, b);
}
inline void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  emulation::mma(emulation::Operation::mma_bf16, d, a, b);
}

}  // namespace goturn::cuda
