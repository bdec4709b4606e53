// Adam's update: four reads and three writes of 4 bytes for a weight, and nothing else that takes
// time.

#include <cmath>

#include "cuda/each.h"
#include "cuda/ops.h"

namespace goturn::cuda {
namespace {

struct Update {
  const AdamRates* rates;
  const float* gradient;
  float* weight;
  float* velocity;
  float* square;

  template <int kCount>
  __device__ void at(std::int64_t first) const {
    const AdamRates now = *rates;
    float g[kCount], w[kCount], v[kCount], s[kCount];
    load_vector(gradient + first, g);
    load_vector(weight + first, w);
    load_vector(velocity + first, v);
    load_vector(square + first, s);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      v[i] = now.momentum * v[i] + now.fresh * g[i];
      s[i] = now.squares * s[i] + now.fresh_squares * (g[i] * g[i]);
      w[i] -= now.step * v[i] / (now.root * sqrtf(s[i]) + now.epsilon) + now.shrink * w[i];
    }
    store_vector(w, weight + first);
    store_vector(v, velocity + first);
    store_vector(s, square + first);
  }
};

}  // namespace

void adam_update(std::int64_t count, const AdamRates* rates, const float* gradient, float* weight,
                 float* velocity, float* square, Stream stream) {
  for_each_value("adam_update", count, aligned16(gradient, weight, velocity, square),
                 Update{rates, gradient, weight, velocity, square}, stream);
}

}  // namespace goturn::cuda
