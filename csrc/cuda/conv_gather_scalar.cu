// conv_gather.cuh with products on CUDA cores.
#include "cuda/conv_gather.cuh"

namespace goturn::cuda {

void gather_scalar(Type type, const GatherCall& call) {
  switch (type) {
    case Type::f32:
      return launch_gather<float, Products::scalar>(call);
    // Halves without tensor cores are for old GPUs: one size will do.
    case Type::f16:
      return launch_gather<Half, Products::scalar, ConvTiles<Products::scalar>::Small>(call);
    case Type::bf16:
      return launch_gather<BFloat16, Products::scalar, ConvTiles<Products::scalar>::Small>(call);
    case Type::i8:
      break;
  }
}

}  // namespace goturn::cuda
