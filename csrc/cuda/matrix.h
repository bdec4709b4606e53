// Products of small matrices by a whole warp: ldmatrix and mma.sync.
//
// Fragments are as the PTX manual lays them out; `lane` is threadIdx.x % 32 of a one-dimensional
// block, group = lane / 4, pair = lane % 4:
//
//   tf32, m16n8k8     a: (group, pair) (group + 8, pair) (group, pair + 4) (group + 8, pair + 4)
//                     b: (k = pair, n = group) (k = pair + 4, n = group)
//   16 bits, m16n8k16 a: two values a register, k = 2 pair and 2 pair + 1, of
//                        (group, 0..) (group + 8, 0..) (group, 8..) (group + 8, 8..)
//                     b: (k = 2 pair.., n = group) (k = 8 + 2 pair.., n = group)
//   d, float          (group, 2 pair) (group, 2 pair + 1)
//                     (group + 8, 2 pair) (group + 8, 2 pair + 1)
//
// All 32 lanes of a warp must take part.  Not there before sm_80: callers choose other kernels.
#pragma once

#include "cuda/platform.h"

#ifdef GOTURN_EMULATE_CUDA
#include "emulation/matrix.h"
#else

namespace goturn::cuda {

// Four 8 x 8 matrices of 16-bit values; lane l gives the address of row l % 8 of matrix l / 8.
template <class T>
__device__ __forceinline__ void load_matrix_x4(std::uint32_t (&to)[4], const Shared<T>& from,
                                               int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from.address(index))
               : "memory");
}

// The same, each matrix transposed.
template <class T>
__device__ __forceinline__ void load_matrix_x4_transposed(std::uint32_t (&to)[4],
                                                          const Shared<T>& from, int index) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from.address(index))
               : "memory");
}

// The nearest TF32 number (10 bits of fraction; ties away from zero), as the bits of a float.
__device__ __forceinline__ std::uint32_t to_tf32(float value) {
  std::uint32_t bits = 0;
#if __CUDA_ARCH__ >= 800
  asm("cvt.rna.tf32.f32 %0, %1;\n" : "=r"(bits) : "f"(value));
#endif
  return bits;
}

// d += a b.
__device__ __forceinline__ void mma_tf32(float (&d)[4], const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

__device__ __forceinline__ void mma_f16(float (&d)[4], const std::uint32_t (&a)[4],
                                        const std::uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

__device__ __forceinline__ void mma_bf16(float (&d)[4], const std::uint32_t (&a)[4],
                                         const std::uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#else
  __trap();
#endif
}

}  // namespace goturn::cuda

#endif
