// conv_weight.cuh with products of f16 and bf16 values on tensor cores.
#include "cuda/conv_weight.cuh"

namespace goturn::cuda {

void weight_half(Type type, const WeightCall& call) {
  if (type == Type::f16) {
    launch_weight<Half, Products::half>(call);
  } else {
    launch_weight<BFloat16, Products::half>(call);
  }
}

}  // namespace goturn::cuda
