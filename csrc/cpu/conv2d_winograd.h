// 3 x 3 convolutions of stride 1 by Winograd's F(2 x 2, 3 x 3), in single precision.
#pragma once

#include <cstdint>

#include "cpu/conv2d_packed.h"

namespace goturn::cpu {

class WinogradConv {
 public:
  // Whether a convolution is of this kind.
  static bool takes(std::int64_t kernel, std::int64_t stride) { return kernel == 3 && stride == 1; }

  // As PackedConv, of a 3 x 3 kernel and stride 1.
  WinogradConv(const Image& in, const Image& out, std::int64_t groups, const FilterLayout& filters,
               const float* bias);

  // Floats of scratch memory that run needs for `images` images.
  std::int64_t scratch_values(std::int64_t images) const;

  // As PackedConv::run.  `scratch` is any memory of scratch_values(images) floats.
  void run(const float* input, float* output, std::int64_t images, bool relu, float* scratch) const;

 private:
  void pack(const FilterLayout& filters, std::int64_t block);
  void transform_input(const float* input, std::int64_t images, float* transformed) const;

  Image in_;
  Image out_;
  std::int64_t groups_;
  std::int64_t blocks_;     // of tile_channels, per group
  std::int64_t tile_rows_;  // 2 x 2 pixels each
  std::int64_t tile_columns_;
  Floats weight_;  // (groups, blocks, 16, in / groups, tile_channels)
  Floats bias_;    // (groups, blocks, tile_channels)
};

}  // namespace goturn::cpu
