// What an output pixel reads is a few long stretches of memory ("runs": kernel rows where there are
// no groups), the same for every pixel but for its start.  A tile of output pixels and channels
// stays in registers while it walks through them, one weight vector and one input value at a time;
// there is no im2col.
//
// conv1 reads its 227 x 227 x 3 input in runs of 33; the 3 x 3 layers without groups in runs of 3
// C. The weights of one block of output channels (147 kB at most) stay in L2 while all pixels pass.

#include "cpu/conv2d_packed.h"

#include <algorithm>

#include "cpu/threads.h"

namespace goturn::cpu {
namespace {

// Output pixels of one piece of work.
constexpr std::int64_t kPixelsPerTask = 384;
// Side of the squares in which planes and pixels are exchanged: a cache line of either.
constexpr std::int64_t kSquare = 16;

// to[j * to_stride + i] = from[i * from_stride + j].
void transpose(const float* from, std::int64_t from_stride, std::int64_t rows, std::int64_t columns,
               float* to, std::int64_t to_stride) {
  for (std::int64_t i0 = 0; i0 < rows; i0 += kSquare) {
    const std::int64_t i1 = std::min(rows, i0 + kSquare);
    for (std::int64_t j0 = 0; j0 < columns; j0 += kSquare) {
      const std::int64_t j1 = std::min(columns, j0 + kSquare);
      for (std::int64_t j = j0; j < j1; ++j) {
        for (std::int64_t i = i0; i < i1; ++i) to[j * to_stride + i] = from[i * from_stride + j];
      }
    }
  }
}

}  // namespace

PackedConv::PackedConv(const Image& in, const Image& out, std::int64_t kernel_height,
                       std::int64_t kernel_width, std::int64_t stride, std::int64_t groups,
                       const FilterLayout& filters, const float* bias)
    : in_(in), out_(out), stride_(stride), groups_(groups) {
  const Kernels& k = kernels();
  const std::int64_t in_group = in.channels / groups;
  const std::int64_t out_group = out.channels / groups;
  for (std::int64_t r = 0; r < kernel_height; ++r) {
    if (groups == 1) {
      runs_.push_back({r * in.row(), kernel_width * in.channels});
      continue;
    }
    for (std::int64_t s = 0; s < kernel_width; ++s) {
      runs_.push_back({r * in.row() + s * in.channels, in_group});
    }
  }
  blocks_ = divide_up(out_group, k.tile_channels);
  block_values_ =
      values_of({static_cast<std::int64_t>(runs_.size()), runs_.front().length, k.tile_channels});
  weight_ = zeros(values_of({groups, blocks_, block_values_}));
  bias_ = zeros(values_of({groups, blocks_, k.tile_channels}));
  for (std::int64_t channel = 0; bias != nullptr && channel < out.channels; ++channel) {
    const std::int64_t first = channel / out_group * blocks_ * k.tile_channels;
    bias_[static_cast<std::size_t>(first + channel % out_group)] = bias[channel];
  }
  parallel_for(groups * blocks_, [&](std::int64_t block) { pack(filters, block); });
}

// Weights of a block into the order in which a tile walks: run by run, tile_channels at a time.
void PackedConv::pack(const FilterLayout& filters, std::int64_t block) {
  const std::int64_t width = kernels().tile_channels;
  const std::int64_t in_group = in_.channels / groups_;
  const std::int64_t first = block % blocks_ * width;
  const std::int64_t count = std::min(width, out_.channels / groups_ - first);
  const std::int64_t run_values = block_values_ / static_cast<std::int64_t>(runs_.size());
  for (std::int64_t lane = 0; lane < count; ++lane) {
    const float* from =
        filters.data + block / blocks_ * filters.group_stride + (first + lane) * filters.out_stride;
    float* to = weight_.get() + block * block_values_ + lane;
    std::int64_t value = 0;  // of the filter, in the order of the runs
    for (const Run& run : runs_) {
      for (std::int64_t k = 0; k < run.length; ++k, ++value) {
        const std::int64_t tap = value / in_group, c = value % in_group;
        to[k * width] = from[c * filters.in_stride + tap * filters.tap_stride];
      }
      to += run_values;
    }
  }
}

void PackedConv::run(const float* input, float* output, std::int64_t images, bool relu) const {
  const Kernels& k = kernels();
  const std::int64_t pixels = out_.height * out_.width;
  const std::int64_t per_task = round_up(kPixelsPerTask, k.tile_pixels);
  const std::int64_t parts = divide_up(pixels, per_task);
  const std::int64_t out_group = out_.channels / groups_;
  // Tasks of one block of channels follow each other: its weights are then in the cache.
  parallel_for(groups_ * blocks_ * images * parts, [&](std::int64_t task) {
    const std::int64_t part = task % parts;
    const std::int64_t image = task / parts % images;
    const std::int64_t block = task / (parts * images);
    const std::int64_t group = block / blocks_;
    const std::int64_t first_channel = block % blocks_ * k.tile_channels;
    const std::int64_t channels =
        std::min<std::int64_t>(k.tile_channels, out_group - first_channel);
    const float* from = input + image * in_.values() + group * (in_.channels / groups_);
    float* to = output + image * out_.values() + group * out_group + first_channel;
    const float* inputs[16];
    float* outputs[16];
    alignas(64) float partial[16 * 32];  // a tile whose last channels do not exist
    const std::int64_t begin = part * per_task;
    const std::int64_t count = std::min(pixels - begin, per_task);
    const std::int64_t tiles = divide_up(count, k.tile_pixels);
    for (std::int64_t index = 0; index < tiles; ++index) {
      // Tiles of about one size: a last one of a pixel or two would take nearly as long as a whole.
      const std::int64_t first = begin + count * index / tiles;
      const auto in_tile = static_cast<int>(begin + count * (index + 1) / tiles - first);
      for (int p = 0; p < in_tile; ++p) {
        const std::int64_t y = (first + p) / out_.width, x = (first + p) % out_.width;
        inputs[p] = from + y * stride_ * in_.row() + x * stride_ * in_.channels;
        outputs[p] =
            channels == k.tile_channels ? to + out_.at(y, x) : partial + p * k.tile_channels;
      }
      k.conv_tile(in_tile, inputs, weight_.get() + block * block_values_, runs_.data(),
                  static_cast<std::int64_t>(runs_.size()), bias_.get() + block * k.tile_channels,
                  relu, outputs);
      if (channels == k.tile_channels) continue;
      for (int p = 0; p < in_tile; ++p) {
        std::copy_n(partial + p * k.tile_channels, channels,
                    to + out_.at((first + p) / out_.width, (first + p) % out_.width));
      }
    }
  });
}

void row_to_pixels(const float* planes, const Image& image, std::int64_t y, float* pixels) {
  transpose(planes + y * image.width, image.height * image.width, image.channels, image.width,
            pixels + image.at(y, 0), image.channels);
}

void row_to_planes(const float* pixels, const Image& image, std::int64_t y, float* planes) {
  transpose(pixels + image.at(y, 0), image.channels, image.width, image.channels,
            planes + y * image.width, image.height * image.width);
}

}  // namespace goturn::cpu
