// conv_gather.cuh with products on CUDA cores.
#include "cuda/conv_gather.cuh"

namespace goturn::cuda {

namespace {

template <class T>
void launch_small(const GatherCall& call) {
  using Small = ConvTiles<Products::scalar>::Small;
  if (call.shape.divide > 1) {
    launch_gather<T, Products::scalar, Small, true>(call);
  } else {
    launch_gather<T, Products::scalar, Small>(call);
  }
}

}  // namespace

void gather_scalar(Type type, const GatherCall& call) {
  switch (type) {
    case Type::f32:
      if (call.shape.divide > 1) return launch_small<float>(call);
      return launch_gather<float, Products::scalar>(call);
    // Halves without tensor cores are for old GPUs: one size will do.
    case Type::f16:
      return launch_small<Half>(call);
    case Type::bf16:
      return launch_small<BFloat16>(call);
    case Type::i8:
      break;
  }
}

}  // namespace goturn::cuda
