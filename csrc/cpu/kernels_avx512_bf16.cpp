// AVX-512F and its products of bfloat16 pairs; otherwise as kernels_avx512.cpp.
#define GOTURN_KERNELS kAvx512Bf16Kernels
#define GOTURN_ISA_NAME "avx512_bf16"
#define GOTURN_LANES 16
#define GOTURN_PIXELS 12
#define GOTURN_VECTORS 2
#define GOTURN_INPUTS 4
#include "cpu/kernels.inc"
