// conv_weight.cuh with products on CUDA cores.
#include "cuda/conv_weight.cuh"

namespace goturn::cuda {

void weight_scalar(Type type, const WeightCall& call) {
  switch (type) {
    case Type::f32:
      return launch_weight<float, Products::scalar>(call);
    // Halves without tensor cores are for old GPUs: one size will do.
    case Type::f16:
      return launch_weight<Half, Products::scalar, ConvTiles<Products::scalar>::Small>(call);
    case Type::bf16:
      return launch_weight<BFloat16, Products::scalar, ConvTiles<Products::scalar>::Small>(call);
    case Type::i8:
      break;
  }
}

}  // namespace goturn::cuda
