// conv_gather.cuh with TF32 products, one or three for each.
#include "cuda/conv_gather.cuh"

namespace goturn::cuda {

void gather_tf32(const GatherCall& call) { launch_gather<float, Products::tf32>(call); }
void gather_tf32x3(const GatherCall& call) { launch_gather<float, Products::tf32x3>(call); }

}  // namespace goturn::cuda
