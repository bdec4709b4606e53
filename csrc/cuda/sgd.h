// Caffe's momentum step of one weight, for every kernel that updates weights.
#pragma once

#include <cmath>

#include "cuda/platform.h"
#include "shapes.h"

namespace goturn::cuda {

// v = momentum v + rate (gradient + decay w); w = w - v.
__device__ __forceinline__ void sgd_step(const SgdRates& rates, float gradient, float& weight,
                                         float& velocity) {
  const float step = rates.rate * fmaf(rates.decay, weight, gradient);
  velocity = fmaf(rates.momentum, velocity, step);
  weight -= velocity;
}

}  // namespace goturn::cuda
