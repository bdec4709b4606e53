// The tiles and engines (gemm.cuh) of convolutions.
#pragma once

#include "cuda/gemm_scalar.cuh"
#include "cuda/gemm_tensor.cuh"

namespace goturn::cuda {

// Tiles by TileSize, for each kind of products.  Registers are what limits them: TF32 thrice has
// twice the sums.
template <Products kProducts>
struct ConvTiles {
  using Large = Tile<128, 128, 2, 2, 3, 2>;
  using Large96 = Tile<128, 96, 2, 2, 3, 2>;
  using Small = Tile<64, 64, 2, 2, 4, 3>;
};
template <>
struct ConvTiles<Products::tf32x3> {
  using Large = Tile<128, 128, 2, 4, 3, 1>;
  using Large96 = Tile<128, 96, 4, 2, 3, 1>;
  using Small = Tile<64, 64, 2, 2, 4, 2>;
};
template <>
struct ConvTiles<Products::scalar> {  // before sm_80 a block has 64 KiB of shared memory
  using Large = Tile<128, 128, 4, 2, 2, 1>;
  using Large96 = Tile<128, 96, 4, 1, 2, 1>;
  using Small = Tile<64, 64, 2, 2, 2, 2>;
};

template <class T, Products kProducts, class Tile, Order kOrder>
struct ChooseEngine {
  using Type = TensorCores<T, kProducts, Tile, kOrder>;
};
template <class T, class Tile, Order kOrder>
struct ChooseEngine<T, Products::scalar, Tile, kOrder> {
  using Type = CudaCores<T, Tile, kOrder>;
};
template <class T, Products kProducts, class Tile, Order kOrder>
using Engine = typename ChooseEngine<T, kProducts, Tile, kOrder>::Type;

}  // namespace goturn::cuda
