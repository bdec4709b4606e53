// What treats each value by itself: bound by memory, so plain loops over large blocks do.

#include <cmath>
#include <cstdint>

#include "cpu/blocks.h"
#include "cpu/kernels.h"
#include "ops.h"

namespace goturn::cpu {

void relu(std::int64_t count, const float* x, float* y) {
  for_blocks(count, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = x[i] <= 0.0F ? 0.0F : x[i];
  });
}

void relu_backward(std::int64_t count, const float* dy, const float* y, float* dx) {
  for_blocks(count, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) dx[i] = y[i] > 0.0F ? dy[i] : 0.0F;
  });
}

void dropout_mask(std::int64_t count, std::uint64_t threshold, std::uint64_t key,
                  std::uint8_t* mask) {
  for_blocks(count, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::uint64_t z = key + (static_cast<std::uint64_t>(i) + 1) * 0x9E3779B97F4A7C15U;
      z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
      z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
      z ^= z >> 31;
      mask[i] = (z >> 32) >= threshold ? 1 : 0;
    }
  });
}

void dropout(std::int64_t count, const float* x, const std::uint8_t* mask, float kept, float* y) {
  for_blocks(count, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) y[i] = x[i] * static_cast<float>(mask[i]) / kept;
  });
}

void sgd_update(std::int64_t count, const SgdRates& rates, const float* gradient, float* weight,
                float* velocity) {
  const Kernels& k = kernels();
  for_blocks(count, [&](std::int64_t begin, std::int64_t end) {
    k.sgd(end - begin, rates.rate, rates.momentum, rates.decay, gradient + begin, weight + begin,
          velocity + begin);
  });
}

void adam_update(std::int64_t count, const AdamRates& rates, const float* gradient, float* weight,
                 float* velocity, float* square) {
  for_blocks(count, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float g = gradient[i];
      const float v = rates.momentum * velocity[i] + rates.fresh * g;
      const float s = rates.squares * square[i] + rates.fresh_squares * (g * g);
      velocity[i] = v;
      square[i] = s;
      weight[i] -=
          rates.step * v / (rates.root * std::sqrt(s) + rates.epsilon) + rates.shrink * weight[i];
    }
  });
}

}  // namespace goturn::cpu
