// A tower (conv1..pool5) as one object: weights packed once, activations in (H, W, C) order inside.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
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

class Tower {
 public:
  // Copies the weights, packed.  `side` is the input's height and width.  Throws
  // std::invalid_argument for layers that do not fit each other.
  Tower(const std::vector<TowerLayer>& layers, std::int64_t side);

  // Height and width of the input.
  std::int64_t side() const { return side_; }

  // Values of one image's output, (C, H, W).
  std::int64_t features() const;

  // crops (count, 3, side, side) -> features (count, features()).  May be called by several
  // threads at once.
  void run(const float* crops, std::int64_t count, float* features) const;

  Tower(const Tower&) = delete;
  Tower& operator=(const Tower&) = delete;
  ~Tower();

 private:
  struct Layer;
  struct Workspace;

  std::unique_ptr<Workspace> take_workspace() const;

  std::int64_t side_;
  std::vector<Layer> layers_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace goturn::cpu
