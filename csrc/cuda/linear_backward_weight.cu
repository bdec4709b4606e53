// Gradients of linear's weight and bias: dweight = dy^T x, dbias = column sums of dy.
//
// Floor: the bytes of dweight, written once (fc6: 302 MB).  See linear_outer.cuh.

#include "cuda/linear_outer.cuh"

namespace goturn::cuda {
namespace {

template <bool kVector>
struct StoreGradients {
  struct Row {};

  float* dweight;  // (rows, columns), or null
  float* dbias;
  std::int64_t columns;

  __device__ __forceinline__ bool has_columns() const { return dweight != nullptr; }
  __device__ __forceinline__ bool has_bias() const { return true; }
  __device__ __forceinline__ std::int64_t stride() const { return columns; }
  __device__ __forceinline__ std::int64_t place(std::int64_t row, std::int64_t column) const {
    return row * columns + column;
  }
  __device__ __forceinline__ void prefetch(std::int64_t) const {}
  __device__ __forceinline__ void load(std::int64_t, int, Row&) const {}
  __device__ __forceinline__ void store(std::int64_t at, int count, const float (&gradients)[4],
                                        const Row&) const {
    float* const to = dweight + at;
    if constexpr (kVector) {
      *reinterpret_cast<float4*>(to) =
          make_float4(gradients[0], gradients[1], gradients[2], gradients[3]);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i < count) to[i] = gradients[i];
      }
    }
  }
  __device__ __forceinline__ void store_bias(std::int64_t row, float gradient) const {
    dbias[row] = gradient;
  }
};

}  // namespace

void linear_backward_weight(const LinearShape& shape, const float* dy, std::int64_t dy_stride,
                            const float* x, float* dweight, float* dbias, Stream stream) {
  const linear_outer::Arguments a{shape.batch, shape.outputs, shape.inputs, dy, dy_stride,
                                  x,           shape.x_stride};
  using linear_outer::launch_outer;
  if (shape.inputs % 4 == 0 && aligned16(dweight)) {
    launch_outer("linear_backward_weight", a, StoreGradients<true>{dweight, dbias, shape.inputs},
                 dweight != nullptr, stream);
  } else {
    launch_outer("linear_backward_weight", a, StoreGradients<false>{dweight, dbias, shape.inputs},
                 dweight != nullptr, stream);
  }
}

}  // namespace goturn::cuda
