// Whatever vectors of four floats the compiler's default target has (SSE2, NEON): 4 pixels by 2.
#define GOTURN_KERNELS kPortableKernels
#define GOTURN_ISA_NAME "portable"
#define GOTURN_LANES 4
#define GOTURN_PIXELS 4
#define GOTURN_VECTORS 2
#define GOTURN_INPUTS 2
#include "cpu/kernels.inc"
