// Convolutions as products of matrices: what conv2d*.cu hands to the kernels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <stdexcept>
#include <string>

#include "cuda/ops.h"

namespace goturn::cuda {

// A size that kernels keep in 32 bits.
inline int narrow(std::int64_t value, const char* what) {
  // Room for a tile beyond the last value.
  if (value > std::numeric_limits<int>::max() - 4096) {
    throw std::invalid_argument("conv2d: " + std::to_string(value) + " " + what +
                                " are more than a GPU kernel counts");
  }
  return static_cast<int>(value);
}

// Throws unless positions in the padded images fit into 30 bits.
inline void check_size(const ConvShape& shape) {
  constexpr std::int64_t kMost = std::int64_t{1} << 30;
  if (std::max(shape.height, shape.width) + 2 * shape.pad >= kMost) {
    throw std::invalid_argument("conv2d: an image of " + std::to_string(shape.height) + "x" +
                                std::to_string(shape.width) + " with pad " +
                                std::to_string(shape.pad) + " is larger than a GPU kernel counts");
  }
}

// The stride, which does not matter beyond a padded image: there is one pixel then.
inline std::int64_t bounded_stride(const ConvShape& shape) {
  return std::min(shape.stride, std::int64_t{1} << 30);
}

// Throws unless `products` can be made of `type`.
inline void check_products(Type type, Products products) {
  const bool float_products = products == Products::tf32 || products == Products::tf32x3;
  if ((type == Type::f32 && products == Products::half) || (type != Type::f32 && float_products)) {
    throw std::invalid_argument(
        "conv2d: tf32 products are of float values, half ones of f16 or bf16");
  }
}

// Throws unless an array can be read 16 bytes at a time.
inline void check_aligned(const void* array, const char* name) {
  if (reinterpret_cast<std::uintptr_t>(array) % 16 != 0) {
    throw std::invalid_argument(std::string("conv2d: ") + name + " is not aligned to 16 bytes");
  }
}

// What forms the products of a sum of `terms`.
//
// TF32 thrice errs by up to 4 eps of a product, all in one direction at worst; a float's sum of 16
// is granted as much.  Shorter sums are bound by memory, whatever multiplies.
inline Products choose_products(Products products, std::int64_t terms) {
  return products == Products::tf32x3 && terms < 16 ? Products::scalar : products;
}

// `channels` of a group, rounded up to whole 16-byte chunks.
inline std::int64_t whole_chunks(std::int64_t channels, Type type) {
  const auto chunk = static_cast<std::int64_t>(16 / size_of(type));
  return (channels + chunk - 1) / chunk * chunk;
}

inline std::size_t aligned(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

// For each output pixel (image, p, q) and output channel n of each group
//   y = bias + sum over r, s, c of x[image, (p step - pad_height + r) / divide, (...), c] weight[n,
//   r, s, c]
// where positions that are no multiple of `divide`, or outside x, count as zero.  That is conv2d
// (step = stride, divide = 1), and with flipped and transposed weights, dy for x and step = 1,
// divide = stride, conv2d_backward_data.  Where divide > 1, products are scalar.
struct GatherShape {
  std::int64_t batch;
  std::int64_t groups;
  std::int64_t height, width;          // of x
  std::int64_t group_channels;         // of x; whole chunks
  std::int64_t out_height, out_width;  // of y
  std::int64_t group_outputs;          // channels of y
  std::int64_t kernel_height, kernel_width;
  std::int64_t step, divide, pad_height, pad_width;
};

// Tile sizes (conv_tiles.cuh says which) and slices of k for a shape: a function of nothing else,
// so that results are the same on every GPU of a generation.
enum class TileSize { large, large_96, small };
struct TilePlan {
  TileSize size;
  std::int64_t tiles_m, tiles_n;
  int slices;
  std::size_t partial_bytes;
};
TilePlan plan_gather(const GatherShape& shape, Type type, Products products);

// `partials` has plan.partial_bytes bytes; bias may be null.
void gather_gemm(const GatherShape& shape, Type type, Products products, const void* x,
                 const void* weight, const float* bias, bool relu, void* y, void* partials,
                 int* counters, Stream stream);

// y (rows, padded) = x (rows, columns) of `type`, zeros beyond.
void pad_rows(std::int64_t rows, std::int64_t columns, std::int64_t padded, Type type,
              const void* x, void* y, Stream stream);

}  // namespace goturn::cuda
