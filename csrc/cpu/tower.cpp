// The towers: 2.66 GFLOP a frame for two crops, three quarters of a frame's arithmetic.
//
// Activations are (H, W, C), in which a pixel's channels lie together for convolution, pooling and
// normalisation alike.  Borders are zeros around the images, written once.

#include "cpu/tower.h"

#include <algorithm>
#include <optional>
#include <stdexcept>
#include <string>

#include "cpu/buffer.h"
#include "cpu/conv2d_packed.h"
#include "cpu/threads.h"

namespace goturn::cpu {
namespace {

// Images that pass through the layers together: their activations should stay in the cache.
constexpr std::int64_t kBatch = 4;

}  // namespace

struct Tower::Layer {
  TowerLayer given;
  Image in;
  Image out;
  bool lrn_follows = false;  // a pool that normalises as it goes; `lrn` says how
  TowerLayer lrn;
  std::optional<PackedConv> conv;

  void pack();
  void pool_or_normalise(const Kernels& k, const float* input, float* output,
                         std::int64_t images) const;
};

struct Tower::Workspace {
  // The input and each layer's output, kBatch images each, borders zero.
  std::vector<Floats> activations;
};

namespace {

void check(bool fits, const std::string& what) {
  if (!fits) throw std::invalid_argument("tower: " + what);
}

}  // namespace

Tower::Tower(const std::vector<TowerLayer>& layers, std::int64_t side) : side_(side) {
  check(!layers.empty() && side >= 1 && side <= 4096, "it needs layers and an input side to 4096");
  Image image{side, side, 3, 0};
  for (const TowerLayer& given : layers) {
    Layer layer;
    layer.given = given;
    layer.in = image;
    layer.out = image;
    layer.out.pad = 0;
    if (given.kind != LayerKind::kLrn) {
      check(given.kernel >= 1 && given.stride >= 1 && given.kernel <= image.height + 2 * given.pad,
            "a kernel does not fit its input");
    }
    if (given.kind == LayerKind::kConv) {
      check(given.channels >= 1 && given.groups >= 1 && given.pad >= 0 &&
                image.channels % given.groups == 0 && given.channels % given.groups == 0,
            "channels do not divide into groups");
      check(given.weight != nullptr && given.bias != nullptr, "a convolution without weights");
      layer.out.height = (image.height + 2 * given.pad - given.kernel) / given.stride + 1;
      layer.out.channels = given.channels;
    } else if (given.kind == LayerKind::kMaxPool) {
      layer.out.height = (image.height - given.kernel + given.stride - 1) / given.stride + 1;
    } else {
      check(given.size >= 1 && given.size % 2 == 1, "LRN needs an odd size");
    }
    layer.out.width = layer.out.height;
    if (given.kind == LayerKind::kLrn && !layers_.empty() &&
        layers_.back().given.kind == LayerKind::kMaxPool && !layers_.back().lrn_follows) {
      layers_.back().lrn_follows = true;
      layers_.back().lrn = given;
      continue;
    }
    image = layer.out;
    layers_.push_back(std::move(layer));
  }
  for (std::size_t index = 0; index < layers_.size(); ++index) {
    Layer& layer = layers_[index];
    layer.in.pad = layer.given.kind == LayerKind::kConv ? layer.given.pad : 0;
    if (index > 0) layers_[index - 1].out.pad = layer.in.pad;
  }
  for (Layer& layer : layers_) {
    if (layer.given.kind == LayerKind::kConv) layer.pack();
  }
}

Tower::~Tower() = default;

std::int64_t Tower::features() const {
  const Image& out = layers_.back().out;
  return out.channels * out.height * out.width;
}

void Tower::Layer::pack() {
  const std::int64_t area = given.kernel * given.kernel;
  const std::int64_t in_group = in.channels / given.groups;
  const FilterLayout filters{given.weight, given.channels / given.groups * in_group * area,
                             in_group * area, area, 1};
  conv.emplace(in, out, given.kernel, given.kernel, given.stride, given.groups, filters,
               given.bias);
  given.weight = given.bias = nullptr;  // the caller's, not kept
}

void Tower::Layer::pool_or_normalise(const Kernels& k, const float* input, float* output,
                                     std::int64_t images) const {
  const bool pools = given.kind == LayerKind::kMaxPool;
  const bool normalises = !pools || lrn_follows;
  const TowerLayer& norm = pools ? lrn : given;
  const std::int64_t margin = normalises ? norm.size / 2 : 0;
  parallel_for(images * out.height, [&](std::int64_t task) {
    const std::int64_t image = task / out.height, y = task % out.height;
    const float* from = input + image * in.values();
    float* to = output + image * out.values();
    // One pixel's channels, zeros on both sides.
    std::vector<float> pixel(static_cast<std::size_t>(out.channels + 2 * margin));
    std::vector<const float*> sources;
    for (std::int64_t x = 0; x < out.width; ++x) {
      float* const result = to + out.at(y, x);
      float* const pooled = normalises ? pixel.data() + margin : result;
      sources.clear();
      if (pools) {
        const std::int64_t bottom = std::min(y * given.stride + given.kernel, in.height);
        const std::int64_t right = std::min(x * given.stride + given.kernel, in.width);
        for (std::int64_t row = y * given.stride; row < bottom; ++row) {
          for (std::int64_t column = x * given.stride; column < right; ++column) {
            sources.push_back(from + in.at(row, column));
          }
        }
      } else {
        sources.push_back(from + in.at(y, x));
      }
      k.max_of(sources.data(), static_cast<std::int64_t>(sources.size()), out.channels, pooled);
      if (normalises) {
        k.lrn(pooled, out.channels, norm.size, norm.alpha / static_cast<float>(norm.size),
              norm.beta, norm.k, result);
      }
    }
  });
}

std::unique_ptr<Tower::Workspace> Tower::take_workspace() const {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!idle_.empty()) {
      auto workspace = std::move(idle_.back());
      idle_.pop_back();
      return workspace;
    }
  }
  auto workspace = std::make_unique<Workspace>();
  workspace->activations.push_back(zeros(kBatch * layers_.front().in.values()));
  for (const Layer& layer : layers_) {
    workspace->activations.push_back(zeros(kBatch * layer.out.values()));
  }
  return workspace;
}

void Tower::run(const float* crops, std::int64_t count, float* features) const {
  const Kernels& k = kernels();
  auto workspace = take_workspace();
  const Image& first = layers_.front().in;
  const Image& last = layers_.back().out;
  for (std::int64_t start = 0; start < count; start += kBatch) {
    const std::int64_t images = std::min(kBatch, count - start);
    const float* planes = crops + start * 3 * side_ * side_;
    float* input = workspace->activations.front().get();
    parallel_for(images * side_, [&](std::int64_t task) {
      const std::int64_t image = task / side_, y = task % side_;
      const float* from = planes + (image * 3 * side_ + y) * side_;
      float* to = input + image * first.values() + first.at(y, 0);
      for (std::int64_t x = 0; x < side_; ++x) {
        for (std::int64_t c = 0; c < 3; ++c) to[x * 3 + c] = from[c * side_ * side_ + x];
      }
    });
    for (std::size_t index = 0; index < layers_.size(); ++index) {
      const Layer& layer = layers_[index];
      const float* from = workspace->activations[index].get();
      float* to = workspace->activations[index + 1].get();
      if (layer.conv) {
        layer.conv->run(from, to, images, true);
      } else {
        layer.pool_or_normalise(k, from, to, images);
      }
    }
    const float* output = workspace->activations.back().get();
    const std::int64_t area = last.height * last.width;
    for (std::int64_t image = 0; image < images; ++image) {
      float* to = features + (start + image) * last.channels * area;
      for (std::int64_t pixel = 0; pixel < area; ++pixel) {
        const float* from =
            output + image * last.values() + last.at(pixel / last.width, pixel % last.width);
        for (std::int64_t c = 0; c < last.channels; ++c) to[c * area + pixel] = from[c];
      }
    }
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  idle_.push_back(std::move(workspace));
}

}  // namespace goturn::cpu
