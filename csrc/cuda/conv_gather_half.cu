// conv_gather.cuh with products of f16 and bf16 values on tensor cores.
#include "cuda/conv_gather.cuh"

namespace goturn::cuda {

void gather_half(Type type, const GatherCall& call) {
  if (type == Type::f16) {
    launch_gather<Half, Products::half>(call);
  } else {
    launch_gather<BFloat16, Products::half>(call);
  }
}

}  // namespace goturn::cuda
