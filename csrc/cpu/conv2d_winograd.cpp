// Winograd's F(4 x 4, 3 x 3) and F(4 x 4, 5 x 5): for 16 pixels 36 products instead of 144, and 64
// instead of 400.  Both multiply polynomials at points.
//
// The six points of 3 x 3 are 0, +-sqrt(1/2), +-sqrt(2) and infinity.  Their squares are powers of
// two and each other's inverses, which keeps the transforms short; and they are closer to 1 than
// the usual +-1 and +-2, which halves the error (from 4.6 times a direct convolution's to 2.2
// times).  The eight of 5 x 5 are 0, +-1/2, +-1, +-2 and infinity; none of those tried errs less.
//
// A piece of work is a stretch of tiles by some blocks of output channels.  For a few blocks at a
// time, a matrix product for each point (tiles by input channels by output channels) goes into a
// buffer that stays in the second cache, from where they become pixels.  conv3 to conv5 have 16
// tiles and up to 14 MB of weights, which come from memory: pieces share the tiles, transformed
// once, and have weights of their own, which are fetched ahead of their use; so it is with conv2's
// 49 tiles and 3 MB.  conv1 has 196 tiles and 0.7 MB of weights: pieces share the weights, and each
// transforms the tiles that it needs.
//
// The 666 M products of a crop become 198 M.

#include "cpu/conv2d_winograd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/threads.h"

namespace goturn::cpu {
namespace {

constexpr std::int64_t kSide = 4;  // of the pixels that a tile gives
constexpr std::int64_t kMostTileSide = 8;
constexpr std::int64_t kMostPoints = kMostTileSide * kMostTileSide;
// Of a piece, the most tiles; and where there are many, the least that are worth reading all
// weights.
constexpr std::int64_t kMostTiles = 32;
constexpr std::int64_t kLeastTiles = 16;
// Points times tiles times blocks of channels whose products are in the buffer together: 150 kB of
// blocks of 16.
constexpr std::int64_t kProducts = 36 * 64;
static_assert(kProducts >= kMostPoints * kMostTiles);
// Tiles that are transformed together, for pieces to share.
constexpr std::int64_t kTilesPerStep = 4;
// Pieces of work for each thread, so that none waits long for the last one.
constexpr std::int64_t kPiecesPerThread = 4;
// Floats that keep values of successive points from competing for the same places in the cache.
constexpr std::int64_t kApart = 16;

// Memory of a thread for one piece after the other.
class PieceValues {
 public:
  // At least `count` floats, of any value.
  float* take(std::int64_t count) {
    if (size_ < count) {
      values_ = floats(count);
      size_ = count;
    }
    return values_.get();
  }

 private:
  Floats values_;
  std::int64_t size_ = 0;
};
thread_local PieceValues piece_products;
thread_local PieceValues piece_inputs;

// The polynomial of `taps` weights at +-sqrt(square), over the product of the point's distances
// from the others.
void at_points(const double* from, std::int64_t step, std::int64_t taps, double square,
               double distances, double* plus, double* minus) {
  double parts[2] = {};  // of even and of odd powers
  for (std::int64_t tap = taps - 1; tap >= 0; --tap) {
    double& part = parts[tap % 2];
    part = part * square + from[tap * step];
  }
  const double odd = parts[1] * std::sqrt(square);
  *plus = (parts[0] + odd) / distances;
  *minus = (parts[0] - odd) / distances;
}

// One dimension of the filter's transform: 3 weights to six values, 5 to eight.
void transform(const double* from, std::int64_t step, std::int64_t taps, double* to,
               std::int64_t to_step) {
  const auto pair = [&](std::int64_t index, double square, double distances) {
    at_points(from, step, taps, square, distances, to + index * to_step,
              to + (index + 1) * to_step);
  };
  const double last = from[(taps - 1) * step];
  if (taps == 3) {
    to[0] = from[0];
    pair(1, 0.5, -1.5);
    pair(3, 2, 6);
    to[5 * to_step] = last;
  } else {
    to[0] = -from[0];
    pair(1, 0.25, 1.40625);
    pair(3, 1, -4.5);
    pair(5, 4, 90);
    to[7 * to_step] = last;
  }
}

// Of a kernel's tiles.
std::int64_t tile_side_for(std::int64_t kernel) { return kSide + kernel - 1; }

}  // namespace

// A stretch of tiles by some blocks of output channels of one group.
struct WinogradConv::Piece {
  std::int64_t tile;
  std::int64_t tiles;
  std::int64_t block;  // of all groups'
  std::int64_t blocks;
};

// Values of (points, .., width), those of a point `stride` apart from those of the next.
struct WinogradConv::Values {
  float* data;
  std::int64_t stride;
  std::int64_t width;
};

// Where a tile's first pixel is.
struct WinogradConv::Place {
  std::int64_t image;
  std::int64_t row;
  std::int64_t column;
};

bool WinogradConv::takes(const Image& out, std::int64_t kernel, std::int64_t stride) {
  const std::int64_t squares = divide_up(kernel, stride);
  if (squares != 3 && squares != 5) return false;
  const std::int64_t points = tile_side_for(squares) * tile_side_for(squares);
  const std::int64_t tiles = divide_up(out.height, kSide) * divide_up(out.width, kSide);
  return tiles * points * stride * stride < out.height * out.width * kernel * kernel;
}

WinogradConv::WinogradConv(const Image& in, const Image& out, std::int64_t kernel,
                           std::int64_t groups, const FilterLayout& filters, const float* bias)
    : in_(in),
      out_(out),
      kernel_(kernel),
      tile_side_(tile_side_for(kernel)),
      points_(tile_side_ * tile_side_),
      groups_(groups),
      tile_rows_(divide_up(out.height, kSide)),
      tile_columns_(divide_up(out.width, kSide)) {
  const std::int64_t width = kernels().tile_channels;
  const std::int64_t out_group = out.channels / groups;
  blocks_ = divide_up(out_group, width);
  weight_ = zeros(values_of({groups, blocks_, points_, in.channels / groups, width}));
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
      double taps[25], rows[kMostTileSide * 5], points[kMostPoints];
      for (std::int64_t tap = 0; tap < kernel_ * kernel_; ++tap) {
        taps[tap] = static_cast<double>(from[tap * filters.tap_stride]);
      }
      for (std::int64_t column = 0; column < kernel_; ++column) {
        transform(taps + column, kernel_, kernel_, rows + column, kernel_);
      }
      for (std::int64_t row = 0; row < tile_side_; ++row) {
        transform(rows + kernel_ * row, 1, kernel_, points + tile_side_ * row, 1);
      }
      for (std::int64_t point = 0; point < points_; ++point) {
        const std::int64_t at = ((block * points_ + point) * in_group + c) * width + lane;
        weight_[static_cast<std::size_t>(at)] = static_cast<float>(points[point]);
      }
    }
  }
}

const float* WinogradConv::weights(std::int64_t block, std::int64_t point) const {
  return weight_.get() +
         (block * points_ + point) * (in_.channels / groups_) * kernels().tile_channels;
}

std::int64_t WinogradConv::scratch_values(std::int64_t images) const {
  return values_of(
      {points_, values_of({images, tile_rows_, tile_columns_, in_.channels}) + kApart});
}

// Channels [first_channel, first_channel + channels) of some tiles, into (points, tiles, channels).
void WinogradConv::transform_input(const float* input, std::int64_t first_tile, std::int64_t tiles,
                                   std::int64_t first_channel, const Values& to) const {
  const Kernels& k = kernels();
  const std::int64_t rows = in_.height + 2 * in_.pad, columns = in_.width + 2 * in_.pad;
  const std::vector<float> zero(static_cast<std::size_t>(in_.channels));
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const Place place = place_of(first_tile + tile);
    const float* image = input + place.image * in_.values() + first_channel;
    const float* pixels[kMostPoints];
    for (std::int64_t i = 0; i < points_; ++i) {
      const std::int64_t row = place.row + i / tile_side_, column = place.column + i % tile_side_;
      // Beyond the border, where a last tile has pixels that do not exist.
      const bool there = row < rows && column < columns;
      pixels[i] = there ? image + row * in_.row() + column * in_.channels : zero.data();
    }
    k.winograd_input(static_cast<int>(tile_side_), pixels, to.width, to.data + tile * to.width,
                     to.stride);
  }
}

// Of `inputs`, those of the group from `channel` on, into (points, piece.blocks, piece.tiles,
// tile_channels).
void WinogradConv::multiply(const Piece& piece, const Values& inputs,
                            const Values& products) const {
  const Kernels& k = kernels();
  const std::int64_t width = k.tile_channels;
  const std::int64_t in_group = in_.channels / groups_;
  // Tiles that go together, as many in each row as in the others, or one more.
  const std::int64_t rows = divide_up(piece.tiles, k.tile_pixels);
  std::int64_t starts[kMostTiles + 1];
  for (std::int64_t row = 0; row <= rows; ++row) starts[row] = piece.tiles * row / rows;
  const std::int64_t ahead = divide_up(width, rows);
  const std::int64_t end = piece.block + piece.blocks;
  for (std::int64_t point = 0; point < points_; ++point) {
    const float* from = inputs.data + point * inputs.stride;
    float* to = products.data + point * products.stride;
    for (std::int64_t block = piece.block; block < end; ++block) {
      const float* weight = weights(block, point);
      // What follows comes from memory while these are used.
      const float* next = weight;
      if (block + 1 < end) {
        next = weights(block + 1, point);
      } else if (point + 1 < points_) {
        next = weights(piece.block, point + 1);
      } else if (end < groups_ * blocks_) {
        next = weights(end, 0);
      }
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t first = starts[row];
        k.winograd_products(static_cast<int>(starts[row + 1] - first), from + first * inputs.width,
                            inputs.width, weight, in_group, next + row * ahead * in_group, ahead,
                            to + first * width);
      }
      to += piece.tiles * width;
    }
  }
}

void WinogradConv::transform_output(const Piece& piece, const Values& products, bool relu,
                                    float* output) const {
  const Kernels& k = kernels();
  const std::int64_t width = k.tile_channels;
  const std::int64_t out_group = out_.channels / groups_;
  for (std::int64_t tile = 0; tile < piece.tiles; ++tile) {
    const Place place = place_of(piece.tile + tile);
    float* to = output + place.image * out_.values();
    float* pixels[kSide * kSide];
    for (std::int64_t i = 0; i < kSide * kSide; ++i) {
      const std::int64_t y = place.row + i / kSide, x = place.column + i % kSide;
      pixels[i] = y < out_.height && x < out_.width ? to + out_.at(y, x) : nullptr;
    }
    for (std::int64_t index = 0; index < piece.blocks; ++index) {
      const std::int64_t block = piece.block + index, first = block % blocks_ * width;
      k.winograd_output(static_cast<int>(tile_side_),
                        products.data + (index * piece.tiles + tile) * width, products.stride,
                        std::min(width, out_group - first), bias_.get() + block * width, relu,
                        pixels, block / blocks_ * out_group + first);
    }
  }
}

WinogradConv::Place WinogradConv::place_of(std::int64_t tile) const {
  const std::int64_t in_image = tile_rows_ * tile_columns_;
  return {tile / in_image, tile % in_image / tile_columns_ * kSide, tile % tile_columns_ * kSide};
}

void WinogradConv::run(const float* input, float* output, std::int64_t images, bool relu,
                       float* scratch) const {
  const std::int64_t width = kernels().tile_channels, in_group = in_.channels / groups_;
  const std::int64_t tiles = images * tile_rows_ * tile_columns_;
  const std::int64_t wanted = divide_up(kPiecesPerThread * thread_count(), groups_);
  // The more parts, the more often all weights are read; the more spans, all inputs.
  std::int64_t parts = divide_up(tiles, kMostTiles);
  if (tiles > out_.channels / groups_) {
    parts = std::clamp(wanted, parts, divide_up(tiles, kLeastTiles));
  }
  const std::int64_t spans = std::min(blocks_, divide_up(wanted, parts));
  const bool own_inputs = spans == 1;
  const std::int64_t point_stride = tiles * in_.channels + kApart;
  if (!own_inputs) {
    const std::int64_t steps = divide_up(tiles, kTilesPerStep);
    parallel_for(steps, [&](std::int64_t step) {
      const std::int64_t begin = tiles * step / steps, end = tiles * (step + 1) / steps;
      transform_input(input, begin, end - begin, 0,
                      {scratch + begin * in_.channels, point_stride, in_.channels});
    });
  }
  parallel_for(parts * groups_ * spans, [&](std::int64_t task) {
    const std::int64_t part = task / (groups_ * spans), group = task / spans % groups_;
    const std::int64_t span = task % spans;
    const std::int64_t begin = tiles * part / parts, end = tiles * (part + 1) / parts;
    const std::int64_t first = group * blocks_ + blocks_ * span / spans;
    const std::int64_t last = group * blocks_ + blocks_ * (span + 1) / spans;
    const std::int64_t together = std::min(kProducts / (points_ * (end - begin)), last - first);
    const Values products{piece_products.take(kProducts * width + points_ * kApart),
                          (end - begin) * together * width + kApart, width};
    Values inputs{scratch + begin * in_.channels + group * in_group, point_stride, in_.channels};
    if (own_inputs) {
      inputs = {piece_inputs.take(points_ * (kMostTiles * in_group + kApart)),
                (end - begin) * in_group + kApart, in_group};
      transform_input(input, begin, end - begin, group * in_group, inputs);
    }
    for (std::int64_t block = first; block < last; block += together) {
      const Piece piece{begin, end - begin, block, std::min(together, last - block)};
      multiply(piece, inputs, products);
      transform_output(piece, products, relu, output);
    }
  });
}

}  // namespace goturn::cpu
