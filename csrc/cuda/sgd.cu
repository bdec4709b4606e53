// The solver's update where the gradient is in memory: three reads and two writes of 4 bytes for a
// weight, and nothing else that takes time.

#include "cuda/sgd.h"

#include "cuda/each.h"
#include "cuda/ops.h"

namespace goturn::cuda {
namespace {

struct Update {
  const SgdRates* rates;
  const float* gradient;
  float* weight;
  float* velocity;

  template <int kCount>
  __device__ void at(std::int64_t first) const {
    const SgdRates now = *rates;
    float g[kCount], w[kCount], v[kCount];
    load_vector(gradient + first, g);
    load_vector(weight + first, w);
    load_vector(velocity + first, v);
#pragma unroll
    for (int i = 0; i < kCount; ++i) sgd_step(now, g[i], w[i], v[i]);
    store_vector(w, weight + first);
    store_vector(v, velocity + first);
  }
};

}  // namespace

void sgd_update(std::int64_t count, const SgdRates* rates, const float* gradient, float* weight,
                float* velocity, Stream stream) {
  for_each_value("sgd_update", count, aligned16(gradient, weight, velocity),
                 Update{rates, gradient, weight, velocity}, stream);
}

}  // namespace goturn::cuda
