// The towers: 2.66 GFLOP a frame for two crops, three quarters of a frame's arithmetic.
//
// Activations are (H, W, C): what an output pixel reads is then a few long stretches of memory
// ("runs": kernel rows where there are no groups), the same for every pixel but for its start.  A
// tile of output pixels and channels stays in registers while it walks through them, one weight
// vector and one input value at a time; there is no im2col.  Borders are zeros around the images,
// written once.
//
// conv1 reads its 227 x 227 x 3 input in runs of 33; the 3 x 3 layers without groups in runs of 3
// C. The weights of one block of output channels (147 kB at most) stay in L2 while all pixels pass.

#include "cpu/tower.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "cpu/threads.h"

namespace goturn::cpu {
namespace {

// Images that pass through the layers together: their activations should stay in the cache.
constexpr std::int64_t kBatch = 4;
// Output pixels of one piece of work.
constexpr std::int64_t kPixelsPerTask = 384;

struct Free {
  void operator()(void* pointer) const { std::free(pointer); }
};
using Floats = std::unique_ptr<float[], Free>;

// `count` zeros, aligned for any vector.
Floats zeros(std::int64_t count) {
  const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(float) + 63) / 64 * 64;
  void* memory = std::aligned_alloc(64, std::max<std::size_t>(bytes, 64));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0, bytes);
  return Floats(static_cast<float*>(memory));
}

// An image (H, W, C) with a border of zeros.
struct Image {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
  std::int64_t pad = 0;

  std::int64_t row() const { return (width + 2 * pad) * channels; }
  std::int64_t values() const { return (height + 2 * pad) * row(); }
  // Where pixel (y, x) begins, the border not counted.
  std::int64_t at(std::int64_t y, std::int64_t x) const {
    return (y + pad) * row() + (x + pad) * channels;
  }
};

std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

}  // namespace

struct Tower::Layer {
  TowerLayer given;
  Image in;
  Image out;
  bool lrn_follows = false;  // a pool that normalises as it goes; `lrn` says how
  TowerLayer lrn;
  // Convolutions:
  std::vector<Run> runs;
  std::int64_t blocks = 0;        // of tile_channels, per group
  std::int64_t block_values = 0;  // weights of one block
  Floats weight;                  // (groups, blocks, in / groups * kernel^2, tile_channels)
  Floats bias;                    // (groups, blocks, tile_channels)

  void pack(const Kernels& k);
  void convolve(const Kernels& k, const float* input, float* output, std::int64_t images) const;
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
  const Kernels& k = kernels();
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
    const bool conv = layer.given.kind == LayerKind::kConv;
    layer.in.pad = conv ? layer.given.pad : 0;
    if (index > 0) layers_[index - 1].out.pad = layer.in.pad;
    if (conv) layer.pack(k);
  }
}

Tower::~Tower() = default;

std::int64_t Tower::features() const {
  const Image& out = layers_.back().out;
  return out.channels * out.height * out.width;
}

// Weights into the order in which a tile walks: run by run, tile_channels at a time.
void Tower::Layer::pack(const Kernels& k) {
  const std::int64_t in_group = in.channels / given.groups;
  const std::int64_t out_group = given.channels / given.groups;
  const std::int64_t area = given.kernel * given.kernel;
  blocks = round_up(out_group, k.tile_channels) / k.tile_channels;
  block_values = in_group * area * k.tile_channels;
  weight = zeros(given.groups * blocks * block_values);
  bias = zeros(given.groups * blocks * k.tile_channels);
  for (std::int64_t channel = 0; channel < given.channels; ++channel) {
    const std::int64_t group = channel / out_group;
    const std::int64_t within = channel % out_group;
    const std::int64_t block = group * blocks + within / k.tile_channels;
    const std::int64_t lane = within % k.tile_channels;
    bias[static_cast<std::size_t>(block * k.tile_channels + lane)] = given.bias[channel];
    const float* from = given.weight + channel * in_group * area;
    float* to = weight.get() + block * block_values + lane;
    for (std::int64_t tap = 0; tap < area; ++tap) {
      for (std::int64_t c = 0; c < in_group; ++c, to += k.tile_channels) *to = from[c * area + tap];
    }
  }
  given.weight = given.bias = nullptr;  // the caller's, not kept
  for (std::int64_t r = 0; r < given.kernel; ++r) {
    if (given.groups == 1) {
      runs.push_back({r * in.row(), given.kernel * in.channels});
      continue;
    }
    for (std::int64_t s = 0; s < given.kernel; ++s) {
      runs.push_back({r * in.row() + s * in.channels, in_group});
    }
  }
}

void Tower::Layer::convolve(const Kernels& k, const float* input, float* output,
                            std::int64_t images) const {
  const std::int64_t pixels = out.height * out.width;
  const std::int64_t per_task = round_up(kPixelsPerTask, k.tile_pixels);
  const std::int64_t parts = (pixels + per_task - 1) / per_task;
  const std::int64_t out_group = given.channels / given.groups;
  // Tasks of one block of channels follow each other: its weights are then in the cache.
  parallel_for(given.groups * blocks * images * parts, [&](std::int64_t task) {
    const std::int64_t part = task % parts;
    const std::int64_t image = task / parts % images;
    const std::int64_t block = task / (parts * images);
    const std::int64_t group = block / blocks;
    const std::int64_t first_channel = block % blocks * k.tile_channels;
    const std::int64_t channels =
        std::min<std::int64_t>(k.tile_channels, out_group - first_channel);
    const float* from = input + image * in.values() + group * (in.channels / given.groups);
    float* to = output + image * out.values() + group * out_group + first_channel;
    const float* inputs[16];
    float* outputs[16];
    alignas(64) float partial[16 * 32];  // a tile whose last channels do not exist
    const std::int64_t end = std::min(pixels, (part + 1) * per_task);
    for (std::int64_t pixel = part * per_task; pixel < end; pixel += k.tile_pixels) {
      for (int p = 0; p < k.tile_pixels; ++p) {
        const std::int64_t q = std::min(pixel + p, end - 1);  // past the end: the last one again
        const std::int64_t y = q / out.width, x = q % out.width;
        inputs[p] = from + y * given.stride * in.row() + x * given.stride * in.channels;
        outputs[p] =
            channels == k.tile_channels ? to + out.at(y, x) : partial + p * k.tile_channels;
      }
      k.conv_tile(inputs, weight.get() + block * block_values, runs.data(),
                  static_cast<std::int64_t>(runs.size()), bias.get() + block * k.tile_channels,
                  true, outputs);
      if (channels == k.tile_channels) continue;
      for (int p = 0; p < k.tile_pixels; ++p) {
        const std::int64_t q = std::min(pixel + p, end - 1);
        std::copy_n(partial + p * k.tile_channels, channels,
                    to + out.at(q / out.width, q % out.width));
      }
    }
  });
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
      if (layer.given.kind == LayerKind::kConv) {
        layer.convolve(k, from, to, images);
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
