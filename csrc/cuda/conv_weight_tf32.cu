// conv_weight.cuh with TF32 products, one or three for each.
#include "cuda/conv_weight.cuh"

namespace goturn::cuda {

void weight_tf32(const WeightCall& call) { launch_weight<float, Products::tf32>(call); }
void weight_tf32x3(const WeightCall& call) { launch_weight<float, Products::tf32x3>(call); }

}  // namespace goturn::cuda
