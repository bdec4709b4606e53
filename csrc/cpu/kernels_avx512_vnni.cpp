// AVX-512 with products of pairs of whole numbers that are summed as they are taken (VNNI);
// otherwise as kernels_avx512.cpp.
#define GOTURN_KERNELS kAvx512VnniKernels
#define GOTURN_ISA_NAME "avx512_vnni"
#define GOTURN_LANES 16
#define GOTURN_PIXELS 12
#define GOTURN_VECTORS 2
#define GOTURN_INPUTS 4
#include "cpu/kernels.inc"
