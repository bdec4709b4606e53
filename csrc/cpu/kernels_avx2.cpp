// AVX2 and FMA: 6 pixels by 2 vectors fill 12 of 16 registers.
#define GOTURN_KERNELS kAvx2Kernels
#define GOTURN_ISA_NAME "avx2"
#define GOTURN_LANES 8
#define GOTURN_PIXELS 6
#define GOTURN_VECTORS 2
#define GOTURN_INPUTS 3
#include "cpu/kernels.inc"
