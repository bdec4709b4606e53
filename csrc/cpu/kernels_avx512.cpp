// AVX-512F: 12 pixels by 2 vectors fill 24 of 32 registers.
#define GOTURN_KERNELS kAvx512Kernels
#define GOTURN_ISA_NAME "avx512"
#define GOTURN_LANES 16
#define GOTURN_PIXELS 12
#define GOTURN_VECTORS 2
#define GOTURN_INPUTS 4
#include "cpu/kernels.inc"
