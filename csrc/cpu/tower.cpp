// The towers: 2.66 GFLOP a frame for two crops, three quarters of a frame's arithmetic; 0.80 as far
// as convolutions go by Winograd.
//
// Activations are (H, W, C), in which a pixel's channels lie together for convolution, pooling and
// normalisation alike.  Borders are zeros around the images, written once.  Between the layers
// all is in single precision; within a convolution by Winograd's algorithm, products may not be.

#include "cpu/tower.h"

#include <algorithm>
#include <cstddef>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "cpu/buffer.h"
#include "cpu/conv2d_packed.h"
#include "cpu/conv2d_winograd.h"
#include "cpu/phases.h"
#include "cpu/threads.h"
#include "shapes.h"

namespace goturn::cpu {
namespace {

// Images that pass through the layers together: their activations should stay in the cache.
constexpr std::int64_t kBatch = 4;

void check(bool fits, const std::string& what) {
  if (!fits) throw std::invalid_argument("tower: " + what);
}

// That the windows of a convolution or pool fit an input of `side` pixels a side.  Pads stay below
// the kernel, so that no size can overflow.
void check_window(const TowerLayer& layer, std::int64_t side) {
  const bool possible = layer.kernel >= 1 && layer.stride >= 1 && layer.stride <= kMaxStep &&
                        layer.pad >= 0 && layer.pad < layer.kernel;
  check(possible && layer.kernel - 2 * layer.pad <= side,
        "a kernel of " + std::to_string(layer.kernel) + " with stride " +
            std::to_string(layer.stride) + " and pad " + std::to_string(layer.pad) +
            " does not fit its input of " + std::to_string(side) + " pixels a side");
}

struct Layer {
  TowerLayer given;
  Image in;
  Image out;
  std::int64_t phases = 1;   // pixels along the sides of the squares that `in` has as one pixel
  bool lrn_follows = false;  // a pool that normalises as it goes; `lrn` says how
  TowerLayer lrn;
  std::optional<PackedConv> conv;
  std::unique_ptr<WinogradConv> winograd;  // instead of conv

  void pack(bool first, bool int16);
  void pool_or_normalise(const float* input, float* output, std::int64_t images) const;
};

struct Workspace {
  // The input and each layer's output, kBatch images each, borders zero.
  std::vector<Floats> activations;
  Buffer<std::byte> scratch;  // of the layers by Winograd
};

class PackedTower : public Tower {
 public:
  PackedTower(const std::vector<TowerLayer>& layers, std::int64_t side, bool int16);

  std::int64_t side() const override { return side_; }
  std::int64_t features() const override;
  void run(const float* crops, std::int64_t count, float* features) const override;

 private:
  std::unique_ptr<Workspace> take_workspace() const;
  void read(const float* crops, std::int64_t images, float* input) const;
  void write(const float* output, std::int64_t images, float* features) const;

  std::int64_t side_;
  std::vector<Layer> layers_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;  // under fork_safe_mutex()
};

PackedTower::PackedTower(const std::vector<TowerLayer>& layers, std::int64_t side, bool int16)
    : side_(side) {
  check(!layers.empty() && side >= 1 && side <= 4096,
        "it needs layers, and an input of 1 to 4096 pixels a side");
  Image image{side, side, 3, 0};
  for (const TowerLayer& given : layers) {
    Layer layer;
    layer.given = given;
    layer.in = image;
    layer.out = image;
    layer.out.pad = 0;
    if (given.kind != LayerKind::kLrn) check_window(given, image.height);
    if (given.kind == LayerKind::kConv) {
      check(given.channels >= 1 && given.groups >= 1 && image.channels % given.groups == 0 &&
                given.channels % given.groups == 0,
            "channels do not divide into groups");
      check(given.weight != nullptr && given.bias != nullptr, "a convolution without weights");
      layer.out.height = (image.height + 2 * given.pad - given.kernel) / given.stride + 1;
      layer.out.channels = given.channels;
    } else if (given.kind == LayerKind::kMaxPool) {
      layer.out.height =
          PoolShape{1, image.channels, image.height, image.width, given.kernel, given.stride, 0}
              .out_height();
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
    if (layer.given.kind == LayerKind::kConv) layer.pack(&layer == &layers_.front(), int16);
  }
}

std::int64_t PackedTower::features() const {
  const Image& out = layers_.back().out;
  return out.channels * out.height * out.width;
}

// `first`: of the tower, whose input may be laid out as the convolution likes it.  `int16`: of a
// tower of such numbers.
void Layer::pack(bool first, bool int16) {
  const std::int64_t area = given.kernel * given.kernel;
  const std::int64_t in_group = in.channels / given.groups;
  const FilterLayout filters{given.weight, given.channels / given.groups * in_group * area,
                             in_group * area, area, 1};
  const bool takes = WinogradConv::takes(out, given.kernel, given.stride);
  if (takes && given.stride == 1) {
    winograd = WinogradConv::make(in, out, given.kernel, given.groups, filters, given.bias, int16);
  } else if (takes && first && given.groups == 1) {
    const auto gathered =
        phase_filters(given.weight, given.channels, in.channels, given.kernel, given.stride);
    phases = given.stride;
    in = phase_image(in, phases);
    const std::int64_t side = divide_up(given.kernel, phases);
    winograd = WinogradConv::make(
        in, out, side, 1,
        FilterLayout{gathered.data(), 0, side * side * in.channels, 1, in.channels}, given.bias,
        int16);
  } else {
    conv.emplace(in, out, given.kernel, given.kernel, given.stride, given.groups, filters,
                 given.bias);
  }
  given.weight = given.bias = nullptr;  // the caller's, not kept
}

void Layer::pool_or_normalise(const float* input, float* output, std::int64_t images) const {
  const Kernels& k = kernels();
  const bool pools = given.kind == LayerKind::kMaxPool;
  const bool normalises = !pools || lrn_follows;
  const TowerLayer& norm = pools ? lrn : given;
  // No further than there are channels.
  const std::int64_t margin = normalises ? std::min(norm.size / 2, out.channels) : 0;
  parallel_for(images * out.height, [&](std::int64_t task) {
    const std::int64_t image = task / out.height, y = task % out.height;
    const float* from = input + image * in.values();
    float* to = output + image * out.values();
    // One pixel's channels, zeros on both sides, and the same normalised.
    std::vector<float> pixel(static_cast<std::size_t>(out.channels + 2 * margin));
    std::vector<float> normalised(static_cast<std::size_t>(normalises ? out.channels : 0));
    float* const pooled = pixel.data() + margin;
    std::vector<const float*> sources;
    for (std::int64_t x = 0; x < out.width; ++x) {
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
        k.lrn(pooled, out.channels, 2 * margin + 1, norm.alpha / static_cast<float>(norm.size),
              norm.beta, norm.k, normalised.data());
      }
      std::copy_n(normalises ? normalised.data() : pooled, out.channels, to + out.at(y, x));
    }
  });
}

std::unique_ptr<Workspace> PackedTower::take_workspace() const {
  {
    const std::lock_guard<std::mutex> lock(fork_safe_mutex());
    if (!idle_.empty()) {
      auto workspace = std::move(idle_.back());
      idle_.pop_back();
      return workspace;
    }
  }
  auto workspace = std::make_unique<Workspace>();
  const auto add = [&](const Image& image) {
    workspace->activations.push_back(zeros(values_of({kBatch, image.values()})));
  };
  add(layers_.front().in);
  std::int64_t scratch = 0;
  for (const Layer& layer : layers_) {
    add(layer.out);
    if (layer.winograd) scratch = std::max(scratch, layer.winograd->scratch_bytes(kBatch));
  }
  workspace->scratch = buffer_of<std::byte>(scratch);
  return workspace;
}

// Crops (images, 3, side, side) into the first layer's input.
void PackedTower::read(const float* crops, std::int64_t images, float* input) const {
  const Layer& first = layers_.front();
  const Image crop{side_, side_, 3, first.given.kind == LayerKind::kConv ? first.given.pad : 0};
  parallel_for(images * side_, [&](std::int64_t task) {
    const std::int64_t image = task / side_, y = task % side_;
    const float* from = crops + (image * 3 * side_ + y) * side_;
    std::vector<float> row(static_cast<std::size_t>(3 * side_));
    for (std::int64_t x = 0; x < side_; ++x) {
      for (std::int64_t c = 0; c < 3; ++c) {
        row[static_cast<std::size_t>(x * 3 + c)] = from[c * side_ * side_ + x];
      }
    }
    float* const to = input + image * first.in.values();
    if (first.phases > 1) return row_to_phases(row.data(), crop, y, first.phases, to);
    std::copy_n(row.data(), 3 * side_, to + crop.at(y, 0));
  });
}

// The last layer's output to features (images, C, H, W).
void PackedTower::write(const float* output, std::int64_t images, float* features) const {
  const Image& last = layers_.back().out;
  const std::int64_t area = last.height * last.width;
  for (std::int64_t image = 0; image < images; ++image) {
    float* to = features + image * last.channels * area;
    for (std::int64_t pixel = 0; pixel < area; ++pixel) {
      const float* from =
          output + image * last.values() + last.at(pixel / last.width, pixel % last.width);
      for (std::int64_t c = 0; c < last.channels; ++c) to[c * area + pixel] = from[c];
    }
  }
}

void PackedTower::run(const float* crops, std::int64_t count, float* features) const {
  auto workspace = take_workspace();
  for (std::int64_t start = 0; start < count; start += kBatch) {
    const std::int64_t images = std::min(kBatch, count - start);
    read(crops + start * 3 * side_ * side_, images, workspace->activations.front().get());
    for (std::size_t index = 0; index < layers_.size(); ++index) {
      const Layer& layer = layers_[index];
      const float* from = workspace->activations[index].get();
      float* to = workspace->activations[index + 1].get();
      if (layer.winograd) {
        layer.winograd->run(from, to, images, true, workspace->scratch.get());
      } else if (layer.conv) {
        layer.conv->run(from, to, images, true);
      } else {
        layer.pool_or_normalise(from, to, images);
      }
    }
    write(workspace->activations.back().get(), images, features + start * this->features());
  }
  const std::lock_guard<std::mutex> lock(fork_safe_mutex());
  idle_.push_back(std::move(workspace));
}

}  // namespace

std::unique_ptr<Tower> Tower::make(const std::vector<TowerLayer>& layers, std::int64_t side,
                                   TowerNumbers numbers) {
  check(numbers != TowerNumbers::kInt16 || tower_takes_int16(),
        "this processor does not multiply whole numbers of 16 bits in pairs");
  return std::make_unique<PackedTower>(layers, side, numbers == TowerNumbers::kInt16);
}

}  // namespace goturn::cpu
