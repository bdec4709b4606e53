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
//
// As whole numbers of 16 bits, which processors multiply and add in pairs, with AVX2 nearly twice
// as many a second and from half the memory, what is multiplied has a scale for each tile and
// point, and the weights one for each output channel and point.  They are as large as sums of 32
// bits allow: 13 bits and the sign, and the weights about as many.

#include "cpu/conv2d_winograd.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
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
static_assert(kMaxInt16Rows >= kMostPoints);
// Tiles that are transformed together, for pieces to share.
constexpr std::int64_t kTilesPerStep = 4;
// Pieces of work for each thread, so that none waits long for the last one.
constexpr std::int64_t kPiecesPerThread = 4;
// Floats that keep values of successive points from competing for the same places in the cache.
constexpr std::int64_t kApart = 16;

// What is multiplied in pairs, along the input's channels.
template <class Value>
constexpr std::int64_t kTogether = sizeof(Value) == sizeof(float) ? 1 : 2;

// Memory of a thread for one piece after the other.
template <class Value>
class PieceValues {
 public:
  // At least `count` numbers, of any value.
  Value* take(std::int64_t count) {
    if (size_ < count) {
      values_ = buffer_of<Value>(count);
      size_ = count;
    }
    return values_.get();
  }

 private:
  Buffer<Value> values_;
  std::int64_t size_ = 0;
};
thread_local PieceValues<float> piece_products;
thread_local PieceValues<float> piece_scales;
thread_local PieceValues<float> tile_values;
template <class Value>
PieceValues<Value>& piece_inputs() {
  thread_local PieceValues<Value> values;
  return values;
}

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

// A channel's weights at a point, `width` apart, as whole numbers over the scale that is returned:
// as large as the sizes of a product's two sides allow.
float weights_to_int16(const float* from, std::int64_t count, std::int64_t width,
                       std::int16_t* to) {
  double largest = 0, total = 0;
  for (std::int64_t k = 0; k < count; ++k) {
    const double size = std::abs(static_cast<double>(from[k * width]));
    largest = std::max(largest, size);
    total += size;
  }
  // Weights that are not finite make all that comes of them so.
  if (!(total <= std::numeric_limits<float>::max())) return std::numeric_limits<float>::quiet_NaN();
  // Rounding may add a half to each.
  const double room = std::max(1.0, kInt16Weights - static_cast<double>(count) / 2);
  const double scale = std::max(largest / 32767, total / room);
  for (std::int64_t k = 0; k < count; ++k) {
    const double number = scale > 0 ? static_cast<double>(from[k * width]) / scale : 0;
    to[k / 2 * 2 * width + k % 2] = static_cast<std::int16_t>(std::lrint(number));
  }
  return static_cast<float>(scale);
}

// A stretch of tiles by some blocks of output channels of one group.
struct Piece {
  std::int64_t tile;
  std::int64_t tiles;
  std::int64_t block;  // of all groups'
  std::int64_t blocks;
};

// Products (points, blocks, tiles, tile_channels), those of a point `stride` apart from those of
// the next.
struct Products {
  float* data;
  std::int64_t stride;
};

// What is multiplied, (points, tiles, width), those of a point `stride` apart from those of the
// next; and, of whole numbers, the scale of each, (points, groups, tiles), those of a group and of
// a point as far apart as is said.
template <class Value>
struct Inputs {
  Value* data;
  std::int64_t stride;
  std::int64_t width;
  float* scales = nullptr;
  std::int64_t group_scales = 0;
  std::int64_t point_scales = 0;
};

// Those from a tile on.
template <class Value>
Inputs<Value> from_tile(Inputs<Value> inputs, std::int64_t tile) {
  inputs.data += tile * inputs.width;
  inputs.scales += tile;
  return inputs;
}

// Where a tile's first pixel is.
struct Place {
  std::int64_t image;
  std::int64_t row;
  std::int64_t column;
};

// On float, or on std::int16_t.
template <class Value>
class WinogradConvOf : public WinogradConv {
 public:
  WinogradConvOf(const Image& in, const Image& out, std::int64_t kernel, std::int64_t groups,
                 const FilterLayout& filters, const float* bias);

  std::int64_t scratch_bytes(std::int64_t images) const override;
  void run(const float* input, float* output, std::int64_t images, bool relu,
           void* scratch) const override;

 private:
  static constexpr bool kWhole = !std::is_same_v<Value, float>;

  void pack(const FilterLayout& filters, std::int64_t block);
  void transform_filter(const float* filter, const FilterLayout& layout, float* to,
                        std::int64_t to_stride) const;
  Inputs<Value> inputs_in(void* scratch, std::int64_t images) const;
  void transform_input(const float* input, std::int64_t first_tile, std::int64_t tiles,
                       std::int64_t first_group, std::int64_t groups,
                       const Inputs<Value>& to) const;
  void transform_tile(const float* const* pixels, std::int64_t groups, std::int64_t tile,
                      const Inputs<Value>& to) const;
  void multiply(const Piece& piece, const Inputs<Value>& inputs, const Products& products) const;
  void transform_output(const Piece& piece, const Products& products, bool relu,
                        float* output) const;
  Place place_of(std::int64_t tile) const;
  const Value* weights(std::int64_t block, std::int64_t point) const;

  // Of an image.
  std::int64_t tiles() const { return tile_rows_ * tile_columns_; }

  Image in_;
  Image out_;
  std::int64_t kernel_;
  std::int64_t tile_side_;
  std::int64_t points_;  // products of a tile and pair of channels
  std::int64_t groups_;
  std::int64_t in_group_;  // input channels of a group
  std::int64_t depth_;     // the same, rounded up to what is multiplied together
  std::int64_t blocks_;    // of tile_channels, per group
  std::int64_t tile_rows_;
  std::int64_t tile_columns_;
  Buffer<Value> weight_;  // (groups, blocks, points, depth / kTogether, tile_channels, kTogether)
  Floats weight_scale_;   // (groups, blocks, points, tile_channels), of whole numbers
  Floats bias_;           // (groups, blocks, tile_channels)
};

template <class Value>
WinogradConvOf<Value>::WinogradConvOf(const Image& in, const Image& out, std::int64_t kernel,
                                      std::int64_t groups, const FilterLayout& filters,
                                      const float* bias)
    : in_(in),
      out_(out),
      kernel_(kernel),
      tile_side_(tile_side_for(kernel)),
      points_(tile_side_ * tile_side_),
      groups_(groups),
      in_group_(in.channels / groups),
      depth_(round_up(in_group_, kTogether<Value>)),
      tile_rows_(divide_up(out.height, kSide)),
      tile_columns_(divide_up(out.width, kSide)) {
  const std::int64_t width = kernels().tile_channels;
  const std::int64_t out_group = out.channels / groups;
  blocks_ = divide_up(out_group, width);
  weight_ = zeros_of<Value>(values_of({groups, blocks_, points_, depth_, width}));
  if constexpr (kWhole) weight_scale_ = zeros(values_of({groups, blocks_, points_, width}));
  bias_ = zeros(values_of({groups, blocks_, width}));
  for (std::int64_t channel = 0; channel < out.channels; ++channel) {
    const std::int64_t first = channel / out_group * blocks_ * width;
    bias_[static_cast<std::size_t>(first + channel % out_group)] = bias[channel];
  }
  parallel_for(groups * blocks_, [&](std::int64_t block) { pack(filters, block); });
}

template <class Value>
void WinogradConvOf<Value>::pack(const FilterLayout& filters, std::int64_t block) {
  const std::int64_t width = kernels().tile_channels;
  const std::int64_t first = block % blocks_ * width;
  const std::int64_t count = std::min(width, out_.channels / groups_ - first);
  const std::int64_t point_values = in_group_ * width;
  Value* const to = weight_.get() + block * points_ * depth_ * width;
  const Floats whole = kWhole ? floats(points_ * point_values) : nullptr;
  float* values = whole.get();
  if constexpr (!kWhole) values = to;
  for (std::int64_t c = 0; c < in_group_; ++c) {
    for (std::int64_t lane = 0; lane < count; ++lane) {
      const float* from = filters.data + block / blocks_ * filters.group_stride +
                          (first + lane) * filters.out_stride + c * filters.in_stride;
      transform_filter(from, filters, values + c * width + lane, point_values);
    }
  }
  if constexpr (kWhole) {
    for (std::int64_t point = 0; point < points_; ++point) {
      for (std::int64_t lane = 0; lane < count; ++lane) {
        weight_scale_[static_cast<std::size_t>((block * points_ + point) * width + lane)] =
            weights_to_int16(values + point * point_values + lane, in_group_, width,
                             to + point * depth_ * width + 2 * lane);
      }
    }
  }
}

// A filter to its points, `to_stride` apart.
template <class Value>
void WinogradConvOf<Value>::transform_filter(const float* filter, const FilterLayout& layout,
                                             float* to, std::int64_t to_stride) const {
  double taps[25], rows[kMostTileSide * 5], points[kMostPoints];
  for (std::int64_t tap = 0; tap < kernel_ * kernel_; ++tap) {
    taps[tap] = static_cast<double>(filter[tap * layout.tap_stride]);
  }
  for (std::int64_t column = 0; column < kernel_; ++column) {
    transform(taps + column, kernel_, kernel_, rows + column, kernel_);
  }
  for (std::int64_t row = 0; row < tile_side_; ++row) {
    transform(rows + kernel_ * row, 1, kernel_, points + tile_side_ * row, 1);
  }
  for (std::int64_t point = 0; point < points_; ++point) {
    to[point * to_stride] = static_cast<float>(points[point]);
  }
}

template <class Value>
const Value* WinogradConvOf<Value>::weights(std::int64_t block, std::int64_t point) const {
  return weight_.get() + (block * points_ + point) * depth_ * kernels().tile_channels;
}

// The inputs of all tiles, in scratch memory: scales first.
template <class Value>
Inputs<Value> WinogradConvOf<Value>::inputs_in(void* scratch, std::int64_t images) const {
  const std::int64_t count = images * tiles(), width = groups_ * depth_;
  float* const scales = static_cast<float*>(scratch);
  const std::int64_t scale_count = kWhole ? round_up(points_ * groups_ * count, kApart) : 0;
  return {reinterpret_cast<Value*>(scales + scale_count),
          count * width + kApart,
          width,
          scales,
          count,
          groups_ * count};
}

template <class Value>
std::int64_t WinogradConvOf<Value>::scratch_bytes(std::int64_t images) const {
  const std::int64_t rows = values_of({points_, images, tiles(), groups_});
  const std::int64_t numbers = values_of({rows, depth_}) + points_ * kApart;
  const std::int64_t scales = kWhole ? rows + kApart : 0;
  return numbers * static_cast<std::int64_t>(sizeof(Value)) +
         scales * static_cast<std::int64_t>(sizeof(float));
}

// Some groups' channels of some tiles, the first of which are the first of `to`.
template <class Value>
void WinogradConvOf<Value>::transform_input(const float* input, std::int64_t first_tile,
                                            std::int64_t tiles, std::int64_t first_group,
                                            std::int64_t groups, const Inputs<Value>& to) const {
  const std::int64_t rows = in_.height + 2 * in_.pad, columns = in_.width + 2 * in_.pad;
  const std::vector<float> zero(static_cast<std::size_t>(in_.channels));
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const Place place = place_of(first_tile + tile);
    const float* image = input + place.image * in_.values() + first_group * in_group_;
    const float* pixels[kMostPoints];
    for (std::int64_t i = 0; i < points_; ++i) {
      const std::int64_t row = place.row + i / tile_side_, column = place.column + i % tile_side_;
      // Beyond the border, where a last tile has pixels that do not exist.
      const bool there = row < rows && column < columns;
      pixels[i] = there ? image + row * in_.row() + column * in_.channels : zero.data();
    }
    transform_tile(pixels, groups, tile, to);
  }
}

template <class Value>
void WinogradConvOf<Value>::transform_tile(const float* const* pixels, std::int64_t groups,
                                           std::int64_t tile, const Inputs<Value>& to) const {
  const Kernels& k = kernels();
  const std::int64_t channels = groups * in_group_;
  Value* const numbers = to.data + tile * to.width;
  const int side = static_cast<int>(tile_side_);
  if constexpr (!kWhole) {
    k.winograd_input(side, pixels, channels, numbers, to.stride);
  } else {
    const std::int64_t stride = channels + kApart;
    float* const values = tile_values.take(points_ * stride);
    k.winograd_input(side, pixels, channels, values, stride);
    for (std::int64_t group = 0; group < groups; ++group) {
      Value* const rows = numbers + group * depth_;
      k.to_int16(points_, in_group_, values + group * in_group_, stride, rows, to.stride,
                 to.scales + group * to.group_scales + tile, to.point_scales);
      // Its weight is 0; what is read should be a number that somebody wrote.
      for (std::int64_t point = 0; in_group_ < depth_ && point < points_; ++point) {
        rows[point * to.stride + in_group_] = 0;
      }
    }
  }
}

// `inputs` are of the piece's tiles and group.
template <class Value>
void WinogradConvOf<Value>::multiply(const Piece& piece, const Inputs<Value>& inputs,
                                     const Products& products) const {
  const Kernels& k = kernels();
  const std::int64_t width = k.tile_channels;
  // Tiles that go together, as many in each row as in the others, or one more.
  const std::int64_t rows = divide_up(piece.tiles, k.tile_pixels);
  std::int64_t starts[kMostTiles + 1];
  for (std::int64_t row = 0; row <= rows; ++row) starts[row] = piece.tiles * row / rows;
  const std::int64_t steps = depth_ / kTogether<Value>;
  const std::int64_t ahead = divide_up(width, rows) * kTogether<Value>;
  const std::int64_t end = piece.block + piece.blocks;
  for (std::int64_t point = 0; point < points_; ++point) {
    const Value* from = inputs.data + point * inputs.stride;
    float* to = products.data + point * products.stride;
    for (std::int64_t block = piece.block; block < end; ++block) {
      const Value* weight = weights(block, point);
      // What follows comes from memory while these are used.
      const Value* next = weight;
      if (block + 1 < end) {
        next = weights(block + 1, point);
      } else if (point + 1 < points_) {
        next = weights(piece.block, point + 1);
      } else if (end < groups_ * blocks_) {
        next = weights(end, 0);
      }
      for (std::int64_t row = 0; row < rows; ++row) {
        const std::int64_t first = starts[row];
        const int count = static_cast<int>(starts[row + 1] - first);
        const Value* const tiles = from + first * inputs.width;
        const Value* const fetched = next + row * ahead * steps;
        if constexpr (!kWhole) {
          k.winograd_products(count, tiles, inputs.width, weight, steps, fetched, ahead,
                              to + first * width);
        } else {
          k.winograd_products_int16(count, tiles, inputs.width, weight, steps, fetched, ahead,
                                    inputs.scales + point * inputs.point_scales + first,
                                    weight_scale_.get() + (block * points_ + point) * width,
                                    to + first * width);
        }
      }
      to += piece.tiles * width;
    }
  }
}

template <class Value>
void WinogradConvOf<Value>::transform_output(const Piece& piece, const Products& products,
                                             bool relu, float* output) const {
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

template <class Value>
Place WinogradConvOf<Value>::place_of(std::int64_t tile) const {
  return {tile / tiles(), tile % tiles() / tile_columns_ * kSide, tile % tile_columns_ * kSide};
}

template <class Value>
void WinogradConvOf<Value>::run(const float* input, float* output, std::int64_t images, bool relu,
                                void* scratch) const {
  const std::int64_t width = kernels().tile_channels;
  const std::int64_t tiles = images * this->tiles();
  const std::int64_t wanted = divide_up(kPiecesPerThread * thread_count(), groups_);
  // The more parts, the more often all weights are read; the more spans, all inputs.
  std::int64_t parts = divide_up(tiles, kMostTiles);
  if (tiles > out_.channels / groups_) {
    parts = std::clamp(wanted, parts, divide_up(tiles, kLeastTiles));
  }
  const std::int64_t spans = std::min(blocks_, divide_up(wanted, parts));
  const bool own_inputs = spans == 1;
  const Inputs<Value> shared = own_inputs ? Inputs<Value>{} : inputs_in(scratch, images);
  if (!own_inputs) {
    const std::int64_t steps = divide_up(tiles, kTilesPerStep);
    parallel_for(steps, [&](std::int64_t step) {
      const std::int64_t begin = tiles * step / steps, end = tiles * (step + 1) / steps;
      transform_input(input, begin, end - begin, 0, groups_, from_tile(shared, begin));
    });
  }
  parallel_for(parts * groups_ * spans, [&](std::int64_t task) {
    const std::int64_t part = task / (groups_ * spans), group = task / spans % groups_;
    const std::int64_t span = task % spans;
    const std::int64_t begin = tiles * part / parts, end = tiles * (part + 1) / parts;
    const std::int64_t first = group * blocks_ + blocks_ * span / spans;
    const std::int64_t last = group * blocks_ + blocks_ * (span + 1) / spans;
    const std::int64_t together = std::min(kProducts / (points_ * (end - begin)), last - first);
    const Products products{piece_products.take(kProducts * width + points_ * kApart),
                            (end - begin) * together * width + kApart};
    Inputs<Value> inputs{};
    if (own_inputs) {
      inputs = {piece_inputs<Value>().take(points_ * (kMostTiles * depth_ + kApart)),
                (end - begin) * depth_ + kApart,
                depth_,
                kWhole ? piece_scales.take(points_ * kMostTiles) : nullptr,
                0,
                end - begin};
      transform_input(input, begin, end - begin, group, 1, inputs);
    } else {
      inputs = from_tile(shared, begin);
      inputs.data += group * depth_;
      inputs.scales += group * inputs.group_scales;
    }
    for (std::int64_t block = first; block < last; block += together) {
      const Piece piece{begin, end - begin, block, std::min(together, last - block)};
      multiply(piece, inputs, products);
      transform_output(piece, products, relu, output);
    }
  });
}

}  // namespace

bool WinogradConv::takes(const Image& out, std::int64_t kernel, std::int64_t stride) {
  const std::int64_t squares = divide_up(kernel, stride);
  if (squares != 3 && squares != 5) return false;
  const std::int64_t points = tile_side_for(squares) * tile_side_for(squares);
  const std::int64_t tiles = divide_up(out.height, kSide) * divide_up(out.width, kSide);
  return tiles * points * stride * stride < out.height * out.width * kernel * kernel;
}

std::unique_ptr<WinogradConv> WinogradConv::make(const Image& in, const Image& out,
                                                 std::int64_t kernel, std::int64_t groups,
                                                 const FilterLayout& filters, const float* bias,
                                                 bool int16) {
  if (int16) {
    return std::make_unique<WinogradConvOf<std::int16_t>>(in, out, kernel, groups, filters, bias);
  }
  return std::make_unique<WinogradConvOf<float>>(in, out, kernel, groups, filters, bias);
}

}  // namespace goturn::cpu
