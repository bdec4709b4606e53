// The solver's step of linear's weight and bias, with gradients that are never stored.
//
// Floor: 16 bytes a weight, which and whose velocity are read and written once (the paper's fc
// layers: 1.75 GB), for 100 FLOP where the batch is 50.  See linear_outer.cuh.  A thread's weights
// and velocities are on their way from memory while it computes their gradients.

#include "cuda/linear_outer.cuh"
#include "cuda/sgd.h"

namespace goturn::cuda {
namespace {

template <bool kVector>
struct UpdateWeights {
  struct Row {
    float weight[4];
    float velocity[4];
  };

  float* weight;  // (rows, ...), rows row_stride apart, as of velocity
  float* velocity;
  std::int64_t row_stride;
  const SgdRates* rates;
  float* bias;  // or null
  float* bias_velocity;
  const SgdRates* bias_rates;

  __device__ __forceinline__ bool has_columns() const { return true; }
  __device__ __forceinline__ bool has_bias() const { return bias != nullptr; }

  __device__ __forceinline__ std::int64_t stride() const { return row_stride; }
  __device__ __forceinline__ std::int64_t place(std::int64_t row, std::int64_t column) const {
    return row * row_stride + column;
  }
  __device__ __forceinline__ void prefetch(std::int64_t at) const {
    prefetch_l2(weight + at);
    prefetch_l2(velocity + at);
  }
  __device__ __forceinline__ void load(std::int64_t at, int count, Row& to) const {
    if constexpr (kVector) {
      load_four(weight + at, to.weight);
      load_four(velocity + at, to.velocity);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        to.weight[i] = i < count ? weight[at + i] : 0.0F;
        to.velocity[i] = i < count ? velocity[at + i] : 0.0F;
      }
    }
  }
  __device__ __forceinline__ void store(std::int64_t at, int count, const float (&gradients)[4],
                                        const Row& loaded) const {
    const SgdRates step = *rates;
    Row changed = loaded;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      sgd_step(step, gradients[i], changed.weight[i], changed.velocity[i]);
    }
    if constexpr (kVector) {
      store_four(changed.weight, weight + at);
      store_four(changed.velocity, velocity + at);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (i >= count) break;
        weight[at + i] = changed.weight[i];
        velocity[at + i] = changed.velocity[i];
      }
    }
  }
  __device__ __forceinline__ void store_bias(std::int64_t row, float gradient) const {
    float value = bias[row];
    float speed = bias_velocity[row];
    sgd_step(*bias_rates, gradient, value, speed);
    bias[row] = value;
    bias_velocity[row] = speed;
  }

 private:
  static __device__ __forceinline__ void load_four(const float* from, float (&to)[4]) {
    const float4 four = __ldcs(reinterpret_cast<const float4*>(from));
    to[0] = four.x;
    to[1] = four.y;
    to[2] = four.z;
    to[3] = four.w;
  }
  static __device__ __forceinline__ void store_four(const float (&from)[4], float* to) {
    __stcs(reinterpret_cast<float4*>(to), make_float4(from[0], from[1], from[2], from[3]));
  }
};

}  // namespace

void linear_sgd_update(const LinearShape& shape, const float* dy, std::int64_t dy_stride,
                       const float* x, const SgdRates* weight_rates, float* weight, float* velocity,
                       const SgdRates* bias_rates, float* bias, float* bias_velocity,
                       Stream stream) {
  const linear_outer::Arguments a{shape.batch, shape.outputs, shape.inputs, dy, dy_stride,
                                  x,           shape.x_stride};
  const std::int64_t stride = shape.weight_stride;
  using linear_outer::launch_outer;
  if (shape.inputs % 4 == 0 && stride % 4 == 0 && aligned16(weight, velocity)) {
    launch_outer("linear_sgd_update", a,
                 UpdateWeights<true>{weight, velocity, stride, weight_rates, bias, bias_velocity,
                                     bias_rates},
                 true, stream);
  } else {
    launch_outer("linear_sgd_update", a,
                 UpdateWeights<false>{weight, velocity, stride, weight_rates, bias, bias_velocity,
                                      bias_rates},
                 true, stream);
  }
}

}  // namespace goturn::cuda
