// Winograd's F(2 x 2, 3 x 3): 16 products for 4 pixels instead of 36.
//
// The input is transformed once, 4 x 4 pixels every 2; then, for a block of output channels and a
// stretch of tiles, 16 matrix products (tiles by input channels by output channels) go into a
// buffer that stays in the second cache, from where they become pixels.  Additions on the way cost
// a bit or two of accuracy.
//
// conv3 to conv5 have half of the network's products, 673 M a frame.  With 13 x 13 pixels in 7 x 7
// tiles 347 M are left; the transforms are 1/20 of that; the weights take 16/9 of their memory.

#include "cpu/conv2d_winograd.h"

#include <algorithm>
#include <vector>

#include "cpu/threads.h"

namespace goturn::cpu {
namespace {

constexpr std::int64_t kPoints = 16;  // products of a tile and pair of channels
// Tiles of one piece of work.  The products of a block of 32 channels are then 128 kB.
constexpr std::int64_t kTilesPerTask = 64;
constexpr std::int64_t kMaxTileChannels = 32;

alignas(64) thread_local float products_buffer[kPoints * kTilesPerTask * kMaxTileChannels];

// One dimension of the filter's transform: three weights to four.
void transform(const double* from, std::int64_t step, double* to, std::int64_t to_step) {
  const double ends = from[0] + from[2 * step];
  to[0] = from[0];
  to[to_step] = (ends + from[step]) / 2;
  to[2 * to_step] = (ends - from[step]) / 2;
  to[3 * to_step] = from[2 * step];
}

}  // namespace

WinogradConv::WinogradConv(const Image& in, const Image& out, std::int64_t groups,
                           const FilterLayout& filters, const float* bias)
    : in_(in),
      out_(out),
      groups_(groups),
      tile_rows_(divide_up(out.height, 2)),
      tile_columns_(divide_up(out.width, 2)) {
  const std::int64_t width = kernels().tile_channels;
  const std::int64_t out_group = out.channels / groups;
  blocks_ = divide_up(out_group, width);
  weight_ = zeros(values_of({groups, blocks_, kPoints, in.channels / groups, width}));
  bias_ = zeros(values_of({groups, blocks_, width}));
  for (std::int64_t channel = 0; channel < out.channels; ++channel) {
    const std::int64_t first = channel / out_group * blocks_ * width;
    bias_[static_cast<std::size_t>(first + channel % out_group)] = bias[channel];
  }
  parallel_for(groups * blocks_, [&](std::int64_t block) { pack(filters, block); });
}

void WinogradConv::pack(const FilterLayout& filters, std::int64_t block) {
  const std::int64_t width = kernels().tile_channels;
  const std::int64_t in_group = in_.channels / groups_;
  const std::int64_t first = block % blocks_ * width;
  const std::int64_t count = std::min(width, out_.channels / groups_ - first);
  for (std::int64_t lane = 0; lane < count; ++lane) {
    for (std::int64_t c = 0; c < in_group; ++c) {
      const float* from = filters.data + block / blocks_ * filters.group_stride +
                          (first + lane) * filters.out_stride + c * filters.in_stride;
      double weights[9], rows[12], points[kPoints];
      for (std::int64_t tap = 0; tap < 9; ++tap) {
        weights[tap] = static_cast<double>(from[tap * filters.tap_stride]);
      }
      for (int column = 0; column < 3; ++column) transform(weights + column, 3, rows + column, 3);
      for (int row = 0; row < 4; ++row) transform(rows + 3 * row, 1, points + 4 * row, 1);
      for (std::int64_t point = 0; point < kPoints; ++point) {
        const std::int64_t at = ((block * kPoints + point) * in_group + c) * width + lane;
        weight_[static_cast<std::size_t>(at)] = static_cast<float>(points[point]);
      }
    }
  }
}

std::int64_t WinogradConv::scratch_values(std::int64_t images) const {
  return values_of({kPoints, images, tile_rows_, tile_columns_, in_.channels});
}

// Into (16, images, tile_rows_, tile_columns_, channels).
void WinogradConv::transform_input(const float* input, std::int64_t images,
                                   float* transformed) const {
  const Kernels& k = kernels();
  const std::int64_t point_stride = images * tile_rows_ * tile_columns_ * in_.channels;
  const std::vector<float> zero(static_cast<std::size_t>(in_.channels));
  const std::int64_t rows = in_.height + 2 * in_.pad, columns = in_.width + 2 * in_.pad;
  parallel_for(images * tile_rows_, [&](std::int64_t task) {
    const float* image = input + task / tile_rows_ * in_.values();
    const std::int64_t y = task % tile_rows_ * 2;
    float* to = transformed + task * tile_columns_ * in_.channels;
    for (std::int64_t x = 0; x < 2 * tile_columns_; x += 2, to += in_.channels) {
      const float* pixels[16];
      for (std::int64_t i = 0; i < 16; ++i) {
        const std::int64_t row = y + i / 4, column = x + i % 4;
        // Beyond the border, where a last tile has pixels that do not exist.
        const bool there = row < rows && column < columns;
        pixels[i] = there ? image + row * in_.row() + column * in_.channels : zero.data();
      }
      k.winograd_input(pixels, in_.channels, to, point_stride);
    }
  });
}

void WinogradConv::run(const float* input, float* output, std::int64_t images, bool relu,
                       float* scratch) const {
  transform_input(input, images, scratch);
  const Kernels& k = kernels();
  const std::int64_t width = k.tile_channels;
  const std::int64_t tiles = images * tile_rows_ * tile_columns_;
  const std::int64_t parts = divide_up(tiles, kTilesPerTask);
  const std::int64_t in_group = in_.channels / groups_, out_group = out_.channels / groups_;
  const Run whole{0, in_group};
  const float no_bias[kMaxTileChannels] = {};
  // Tasks of one block of channels follow each other: its weights are then in the cache.
  parallel_for(groups_ * blocks_ * parts, [&](std::int64_t task) {
    const std::int64_t block = task / parts, group = block / blocks_;
    const std::int64_t begin = tiles * (task % parts) / parts;
    const std::int64_t count = tiles * (task % parts + 1) / parts - begin;
    const std::int64_t rows = divide_up(count, k.tile_pixels);  // of tiles that go together
    float* const products = products_buffer;
    for (std::int64_t point = 0; point < kPoints; ++point) {
      const float* from = scratch + (point * tiles + begin) * in_.channels + group * in_group;
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t first = count * row / rows;
        const auto in_row = static_cast<int>(count * (row + 1) / rows - first);
        const float* inputs[16];
        float* outputs[16];
        for (int i = 0; i < in_row; ++i) {
          inputs[i] = from + (first + i) * in_.channels;
          outputs[i] = products + (point * kTilesPerTask + first + i) * width;
        }
        k.conv_tile(in_row, inputs, weight_.get() + (block * kPoints + point) * in_group * width,
                    &whole, 1, no_bias, false, outputs);
      }
    }
    const std::int64_t first_channel = block % blocks_ * width;
    const std::int64_t channels = std::min(width, out_group - first_channel);
    for (std::int64_t tile = 0; tile < count; ++tile) {
      const std::int64_t column = (begin + tile) % tile_columns_ * 2;
      const std::int64_t row = (begin + tile) / tile_columns_ % tile_rows_ * 2;
      const std::int64_t image = (begin + tile) / (tile_columns_ * tile_rows_);
      float* to = output + image * out_.values() + group * out_group + first_channel;
      float* pixels[4];
      for (std::int64_t i = 0; i < 4; ++i) {
        const std::int64_t y = row + i / 2, x = column + i % 2;
        pixels[i] = y < out_.height && x < out_.width ? to + out_.at(y, x) : nullptr;
      }
      k.winograd_output(products + tile * width, kTilesPerTask * width, channels,
                        bias_.get() + block * width, relu, pixels);
    }
  });
}

}  // namespace goturn::cpu
