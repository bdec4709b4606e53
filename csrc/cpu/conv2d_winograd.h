// Convolutions of 3 x 3 and 5 x 5 with stride 1 by Winograd's F(4 x 4, 3 x 3) and F(4 x 4, 5 x 5),
// in single precision.
#pragma once

#include <cstdint>

#include "cpu/conv2d_packed.h"

namespace goturn::cpu {

class WinogradConv {
 public:
  // Whether a convolution with this output is one of this kind, and takes fewer products by it: as
  // it is if its stride is 1, otherwise once phases.h has made it so.
  static bool takes(const Image& out, std::int64_t kernel, std::int64_t stride);

  // As PackedConv, of a kernel of `kernel` x `kernel` and stride 1.
  WinogradConv(const Image& in, const Image& out, std::int64_t kernel, std::int64_t groups,
               const FilterLayout& filters, const float* bias);

  // Floats of scratch memory that run needs for `images` images.
  std::int64_t scratch_values(std::int64_t images) const;

  // As PackedConv::run.  `scratch` is any memory of scratch_values(images) floats.
  void run(const float* input, float* output, std::int64_t images, bool relu, float* scratch) const;

 private:
  struct Piece;
  struct Values;
  struct Place;

  void pack(const FilterLayout& filters, std::int64_t block);
  void transform_input(const float* input, std::int64_t first_tile, std::int64_t tiles,
                       std::int64_t first_channel, const Values& to) const;
  void multiply(const Piece& piece, const Values& inputs, const Values& products) const;
  void transform_output(const Piece& piece, const Values& products, bool relu, float* output) const;
  Place place_of(std::int64_t tile) const;
  const float* weights(std::int64_t block, std::int64_t point) const;

  Image in_;
  Image out_;
  std::int64_t kernel_;
  std::int64_t tile_side_;
  std::int64_t points_;  // products of a tile and pair of channels
  std::int64_t groups_;
  std::int64_t blocks_;  // of tile_channels, per group
  std::int64_t tile_rows_;
  std::int64_t tile_columns_;
  Floats weight_;  // (groups, blocks, points, in / groups, tile_channels)
  Floats bias_;    // (groups, blocks, tile_channels)
};

}  // namespace goturn::cpu
