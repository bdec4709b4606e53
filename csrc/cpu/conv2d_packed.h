// A convolution of images in (H, W, C) order with its weights packed: what the towers and conv2d
// have in common.
#pragma once

#include <cstdint>
#include <vector>

#include "cpu/buffer.h"
#include "cpu/kernels.h"

namespace goturn::cpu {

// An image (H, W, C) with a border of zeros.
struct Image {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
  std::int64_t pad = 0;

  std::int64_t row() const { return (width + 2 * pad) * channels; }
  std::int64_t values() const { return values_of({height + 2 * pad, width + 2 * pad, channels}); }
  // Where pixel (y, x) begins, the border not counted.
  std::int64_t at(std::int64_t y, std::int64_t x) const {
    return (y + pad) * row() + (x + pad) * channels;
  }
};

// Where the weights of a convolution lie: that of output channel k of a group, input channel c of
// the group and kernel position t, row-major, at data[group * group_stride + k * out_stride +
// c * in_stride + t * tap_stride].
struct FilterLayout {
  const float* data;
  std::int64_t group_stride;
  std::int64_t out_stride;
  std::int64_t in_stride;
  std::int64_t tap_stride;
};

class PackedConv {
 public:
  // Copies the weights, packed, and the bias (out.channels), or zeros for null.  The
  // images tell the sizes: the input's border is read as the padding, the output's is left alone.
  PackedConv(const Image& in, const Image& out, std::int64_t kernel_height,
             std::int64_t kernel_width, std::int64_t stride, std::int64_t groups,
             const FilterLayout& filters, const float* bias);

  // `images` images of the input to as many of the output, which must not have more pixels than
  // kernels fit the input.
  void run(const float* input, float* output, std::int64_t images, bool relu) const;

 private:
  void pack(const FilterLayout& filters, std::int64_t block);

  Image in_;
  Image out_;
  std::int64_t stride_;
  std::int64_t groups_;
  std::int64_t blocks_;        // of tile_channels, per group
  std::int64_t block_values_;  // weights of one block
  std::vector<Run> runs_;
  Floats weight_;  // (groups, blocks, block_values_), as the tiles walk
  Floats bias_;    // (groups, blocks, tile_channels)
};

// Row y of an image, from planes (C, H, W) into (H, W, C) inside its border; and back.
void row_to_pixels(const float* planes, const Image& image, std::int64_t y, float* pixels);
void row_to_planes(const float* pixels, const Image& image, std::int64_t y, float* planes);

}  // namespace goturn::cpu
