// Winograd's F(4 x 4, 3 x 3) and F(2 x 2, 5 x 5): 36 products for 16 pixels instead of 144, and for
// 4 pixels instead of 100.  Both multiply polynomials at the same six points, so that they differ
// in the transform of the filters and in how many pixels come of a tile.
//
// The points are 0, +-sqrt(1/2), +-sqrt(2) and infinity.  Their squares are powers of two and each
// other's inverses, which keeps the transforms short; and they are closer to 1 than the usual +-1
// and +-2, which halves the error (from 4.6 times a direct convolution's to 2.2 times, and for 5 x
// 5 from 3.2 to 1.4).
//
// The input is transformed once, 6 x 6 pixels every 4 or 2; then, for a few blocks of output
// channels and a stretch of tiles, 36 matrix products (tiles by input channels by output channels)
// go into a buffer that stays in the second cache, from where they become pixels.

#include "cpu/conv2d_winograd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/threads.h"

namespace goturn::cpu {
namespace {

constexpr std::int64_t kTileSide = 6;
constexpr std::int64_t kPoints = kTileSide * kTileSide;  // products of a tile and pair of channels
// Tiles times blocks of channels whose products are in the buffer together: 150 kB of blocks of 16.
constexpr std::int64_t kTileBlocks = 64;
constexpr std::int64_t kMaxTileChannels = 32;
// Pieces of work for each thread, so that none waits long for the last one.
constexpr std::int64_t kPiecesPerThread = 4;
// Floats that keep values of successive points from competing for the same places in the cache.
constexpr std::int64_t kApart = 16;

alignas(64) thread_local float products_buffer[kPoints * (kTileBlocks * kMaxTileChannels + kApart)];

// One dimension of the filter's transform: `taps` weights, 3 or 5, to six.
void transform(const double* from, std::int64_t step, std::int64_t taps, double* to,
               std::int64_t to_step) {
  double even_half = 0, odd_half = 0, even_two = 0, odd_two = 0, half = 1, two = 1;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const double weight = from[tap * step];
    (tap % 2 == 0 ? even_half : odd_half) += half * weight;
    (tap % 2 == 0 ? even_two : odd_two) += two * weight;
    if (tap % 2 == 0) continue;
    half /= 2;
    two *= 2;
  }
  odd_half *= std::sqrt(0.5);
  odd_two *= std::sqrt(2.0);
  // A polynomial's value at a point, over the product of the point's distances from the others.
  to[0] = from[0];
  to[to_step] = (even_half + odd_half) / -1.5;
  to[2 * to_step] = (even_half - odd_half) / -1.5;
  to[3 * to_step] = (even_two + odd_two) / 6;
  to[4 * to_step] = (even_two - odd_two) / 6;
  to[5 * to_step] = from[(taps - 1) * step];
}

}  // namespace

// A stretch of tiles by some blocks of output channels of one group.
struct WinogradConv::Piece {
  std::int64_t tile;
  std::int64_t tiles;
  std::int64_t block;  // of all groups'
  std::int64_t blocks;

  // Floats between the products of one point and those of the next.
  std::int64_t point_stride(std::int64_t width) const { return tiles * blocks * width + kApart; }
};

bool WinogradConv::takes(const Image& out, std::int64_t kernel, std::int64_t stride) {
  const std::int64_t squares = divide_up(kernel, stride);
  if (squares != 3 && squares != 5) return false;
  const std::int64_t side = kTileSide - squares + 1;
  const std::int64_t tiles = divide_up(out.height, side) * divide_up(out.width, side);
  return tiles * kPoints * stride * stride < out.height * out.width * kernel * kernel;
}

WinogradConv::WinogradConv(const Image& in, const Image& out, std::int64_t kernel,
                           std::int64_t groups, const FilterLayout& filters, const float* bias)
    : in_(in),
      out_(out),
      kernel_(kernel),
      side_(kTileSide - kernel + 1),
      groups_(groups),
      tile_rows_(divide_up(out.height, side_)),
      tile_columns_(divide_up(out.width, side_)) {
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
  for (std::int64_t c = 0; c < in_group; ++c) {
    for (std::int64_t lane = 0; lane < count; ++lane) {
      const float* from = filters.data + block / blocks_ * filters.group_stride +
                          (first + lane) * filters.out_stride + c * filters.in_stride;
      double taps[25], rows[kTileSide * 5], points[kPoints];
      for (std::int64_t tap = 0; tap < kernel_ * kernel_; ++tap) {
        taps[tap] = static_cast<double>(from[tap * filters.tap_stride]);
      }
      for (std::int64_t column = 0; column < kernel_; ++column) {
        transform(taps + column, kernel_, kernel_, rows + column, kernel_);
      }
      for (std::int64_t row = 0; row < kTileSide; ++row) {
        transform(rows + kernel_ * row, 1, kernel_, points + kTileSide * row, 1);
      }
      for (std::int64_t point = 0; point < kPoints; ++point) {
        const std::int64_t at = ((block * kPoints + point) * in_group + c) * width + lane;
        weight_[static_cast<std::size_t>(at)] = static_cast<float>(points[point]);
      }
    }
  }
}

const float* WinogradConv::weights(std::int64_t block, std::int64_t point) const {
  return weight_.get() +
         (block * kPoints + point) * (in_.channels / groups_) * kernels().tile_channels;
}

std::int64_t WinogradConv::point_stride(std::int64_t images) const {
  return values_of({images, tile_rows_, tile_columns_, in_.channels}) + kApart;
}

std::int64_t WinogradConv::scratch_values(std::int64_t images) const {
  return values_of({kPoints, point_stride(images)});
}

// Into (36, images, tile_rows_, tile_columns_, channels).
void WinogradConv::transform_input(const float* input, std::int64_t images,
                                   float* transformed) const {
  const Kernels& k = kernels();
  const std::int64_t stride = point_stride(images);
  const std::vector<float> zero(static_cast<std::size_t>(in_.channels));
  const std::int64_t rows = in_.height + 2 * in_.pad, columns = in_.width + 2 * in_.pad;
  parallel_for(images * tile_rows_, [&](std::int64_t task) {
    const float* image = input + task / tile_rows_ * in_.values();
    const std::int64_t y = task % tile_rows_ * side_;
    float* to = transformed + task * tile_columns_ * in_.channels;
    for (std::int64_t x = 0; x < side_ * tile_columns_; x += side_, to += in_.channels) {
      const float* pixels[kPoints];
      for (std::int64_t i = 0; i < kPoints; ++i) {
        const std::int64_t row = y + i / kTileSide, column = x + i % kTileSide;
        // Beyond the border, where a last tile has pixels that do not exist.
        const bool there = row < rows && column < columns;
        pixels[i] = there ? image + row * in_.row() + column * in_.channels : zero.data();
      }
      k.winograd_input(pixels, in_.channels, to, stride);
    }
  });
}

// Into (36, piece.blocks, piece.tiles, tile_channels).
void WinogradConv::multiply(const Piece& piece, std::int64_t stride, const float* transformed,
                            float* products) const {
  const Kernels& k = kernels();
  const std::int64_t width = k.tile_channels;
  const std::int64_t in_group = in_.channels / groups_;
  const std::int64_t rows = divide_up(piece.tiles, k.tile_pixels);  // of tiles that go together
  const std::int64_t ahead = divide_up(width, rows);
  const float* from = transformed + piece.tile * in_.channels + piece.block / blocks_ * in_group;
  for (std::int64_t point = 0; point < kPoints; ++point, from += stride) {
    float* to = products + point * piece.point_stride(width);
    for (std::int64_t block = piece.block; block < piece.block + piece.blocks; ++block) {
      const float* weight = weights(block, point);
      // The weights that follow come from memory while these are used.
      const bool last = block + 1 == piece.block + piece.blocks;
      const float* next = !last                 ? weights(block + 1, point)
                          : point + 1 < kPoints ? weights(piece.block, point + 1)
                                                : weight;
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t first = piece.tiles * row / rows;
        const auto count = static_cast<int>(piece.tiles * (row + 1) / rows - first);
        k.winograd_products(count, from + first * in_.channels, in_.channels, weight, in_group,
                            next + row * ahead * in_group, ahead, to);
        to += count * width;
      }
    }
  }
}

void WinogradConv::transform_output(const Piece& piece, const float* products, bool relu,
                                    float* output) const {
  const Kernels& k = kernels();
  const std::int64_t width = k.tile_channels;
  const std::int64_t out_group = out_.channels / groups_;
  for (std::int64_t tile = piece.tile; tile < piece.tile + piece.tiles; ++tile) {
    const std::int64_t column = tile % tile_columns_ * side_;
    const std::int64_t row = tile / tile_columns_ % tile_rows_ * side_;
    float* image = output + tile / (tile_columns_ * tile_rows_) * out_.values();
    for (std::int64_t block = piece.block; block < piece.block + piece.blocks; ++block) {
      const std::int64_t first = block % blocks_ * width;
      float* to = image + block / blocks_ * out_group + first;
      float* pixels[16];
      for (std::int64_t i = 0; i < side_ * side_; ++i) {
        const std::int64_t y = row + i / side_, x = column + i % side_;
        pixels[i] = y < out_.height && x < out_.width ? to + out_.at(y, x) : nullptr;
      }
      k.winograd_output(
          static_cast<int>(side_),
          products + ((block - piece.block) * piece.tiles + tile - piece.tile) * width,
          piece.point_stride(width), std::min(width, out_group - first),
          bias_.get() + block * width, relu, pixels);
    }
  }
}

void WinogradConv::run(const float* input, float* output, std::int64_t images, bool relu,
                       float* scratch) const {
  transform_input(input, images, scratch);
  const std::int64_t stride = point_stride(images);
  const std::int64_t tiles = images * tile_rows_ * tile_columns_;
  const std::int64_t parts = divide_up(tiles, kTileBlocks);
  // Blocks of a group in spans, each with all tiles of a part: as few as give every thread some.
  const std::int64_t spans =
      std::min(blocks_, divide_up(kPiecesPerThread * thread_count(), parts * groups_));
  parallel_for(parts * groups_ * spans, [&](std::int64_t task) {
    const std::int64_t part = task / (groups_ * spans), group = task / spans % groups_;
    const std::int64_t span = task % spans;
    const std::int64_t begin = tiles * part / parts, end = tiles * (part + 1) / parts;
    const std::int64_t first = group * blocks_ + blocks_ * span / spans;
    const std::int64_t last = group * blocks_ + blocks_ * (span + 1) / spans;
    const std::int64_t together = kTileBlocks / (end - begin);
    float* const products = products_buffer;
    for (std::int64_t block = first; block < last; block += together) {
      const Piece piece{begin, end - begin, block, std::min(together, last - block)};
      multiply(piece, stride, scratch, products);
      transform_output(piece, products, relu, output);
    }
  });
}

}  // namespace goturn::cpu
