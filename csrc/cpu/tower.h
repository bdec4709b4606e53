// A tower (conv1..pool5) as one object: weights packed once, activations in (H, W, C) order inside.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "cpu/kernels.h"

namespace goturn::cpu {

enum class LayerKind { kConv, kMaxPool, kLrn };

// One layer as the architecture describes it; only its kind's fields count.
struct TowerLayer {
  LayerKind kind;
  std::int64_t channels = 0;  // conv: output channels
  std::int64_t kernel = 0;    // conv, pool
  std::int64_t stride = 1;    // conv, pool
  std::int64_t pad = 0;       // conv
  std::int64_t groups = 1;    // conv
  std::int64_t size = 5;      // LRN
  float alpha = 0;
  float beta = 0;
  float k = 1;
  const float* weight = nullptr;  // conv: (channels, in / groups, kernel, kernel)
  const float* bias = nullptr;    // conv: (channels)
};

// What convolutions multiply.
enum class TowerNumbers {
  kFloat,
  // Whole numbers of 16 bits, where a convolution goes by Winograd; the rest is as with kFloat.
  // Only where tower_takes_int16().
  kInt16,
};

class Tower {
 public:
  // Copies the weights, packed.  `side` is the input's height and width.  Throws
  // std::invalid_argument for layers that do not fit each other.
  static std::unique_ptr<Tower> make(const std::vector<TowerLayer>& layers, std::int64_t side,
                                     TowerNumbers numbers);

  // Height and width of the input.
  virtual std::int64_t side() const = 0;

  // Values of one image's output, (C, H, W).
  virtual std::int64_t features() const = 0;

  // crops (count, 3, side, side) -> features (count, features()).  May be called by several
  // threads at once.
  virtual void run(const float* crops, std::int64_t count, float* features) const = 0;

  Tower(const Tower&) = delete;
  Tower& operator=(const Tower&) = delete;
  virtual ~Tower() = default;

 protected:
  Tower() = default;
};

// Whether the processor multiplies whole numbers of 16 bits in pairs.
inline bool tower_takes_int16() { return kernels().winograd_products_int16 != nullptr; }

}  // namespace goturn::cpu
