// The inner loops, once for each instruction set, chosen when the process starts.
//
// kernels.inc is the one source; kernels_portable.cpp, kernels_avx2.cpp, kernels_avx512.cpp and
// kernels_avx512_vnni.cpp compile it with different vector lengths and instructions.  Everything
// around these loops is ordinary code.
#pragma once

#include <cstdint>

namespace goturn::cpu {

// A stretch of a convolution's input that lies contiguously for every output pixel alike.
struct Run {
  std::int64_t offset;  // from the pixel's first input value
  std::int64_t length;
};

template <class Weight, class Input = float>
using DotRows = void (*)(const Weight* weight, std::int64_t weight_stride, std::int64_t rows,
                         const Input* x, std::int64_t batch, std::int64_t length, float* y,
                         std::int64_t y_stride);
inline constexpr int kMaxDotRows = 16;
inline constexpr int kMaxDotBatch = 16;

// Whole numbers of 16 bits, and the sizes of those that are their weights, summed, so that sums of
// products fit 32 bits.
inline constexpr int kInt16Most = 8191;
inline constexpr int kInt16Weights = 0x7fffffff / kInt16Most;
inline constexpr int kMaxInt16Rows = 64;

struct Kernels {
  const char* name;
  // A convolution tile is up to `tile_pixels` output pixels of `tile_channels` output channels.
  int tile_pixels;
  int tile_channels;
  int lanes;  // floats in a vector

  // sum(p, c) = bias[c] + sum over runs r, k: input[p][r.offset + k] * weight[.., c], then ReLU
  // where asked for.
  //   inputs   (pixels) pointers, 1 to tile_pixels
  //   weight   (sum of the runs' lengths, tile_channels), 64-byte aligned
  //   outputs  (pixels) pointers to tile_channels floats each: written
  void (*conv_tile)(int pixels, const float* const* inputs, const float* weight, const Run* runs,
                    std::int64_t run_count, const float* bias, bool relu, float* const* outputs);

  // y[n * y_stride + m] = sum over k: x[n][k] * weight[m * weight_stride + k], for `rows` <=
  // kMaxDotRows rows m and `batch` <= kMaxDotBatch rows n; in single precision, or of whole
  // numbers, -127 to 127 and kInt16Most at most in size, of which a stretch is summed in 32 bits.
  //   x  packed: a vector's values of the first row, as many of the second .. of the last, and so
  //      on; the last values of each row are followed by unused ones.  One row is as it is.
  DotRows<float> dot_rows;
  DotRows<std::uint16_t> dot_rows_bf16;
  DotRows<std::int8_t, std::int16_t> dot_rows_int8;

  // maximum[i] = the largest of sources[s][i] over `count` sources, 1 or more, for i of
  // [0, length); a NaN where there is one.
  void (*max_of)(const float* const* sources, std::int64_t count, std::int64_t length,
                 float* maximum);

  // Local response normalisation of one pixel's channels: y[c] = x[c] * scale(c) ^ -beta with
  // scale(c) = k + alpha_over_size * (sum of x^2 over `size` channels about c).  x must be
  // readable, and zero, for size / 2 values on both sides.
  void (*lrn)(const float* x, std::int64_t channels, std::int64_t size, float alpha_over_size,
              float beta, float k, float* y);

  // Winograd's convolution of tile_side x tile_side pixels at a time, 6 or 8, with the points that
  // conv2d_winograd.cpp states: pixels, row by row, to as many values, which are multiplied;
  // products of those with weights, summed over the input's channels; and such sums to 4 x 4
  // pixels, plus bias, then ReLU where asked for.
  //   pixels  (tile_side^2) and (16) pointers to `channels` floats each; of the latter null where
  //           not wanted, and written from `first` on
  //   to      (tile_side^2) of `channels` floats, to_stride apart: written
  //   from    (tile_side^2) of `channels` floats rounded up to `lanes`, from_stride apart; bias
  //           likewise
  void (*winograd_input)(int tile_side, const float* const* pixels, std::int64_t channels,
                         float* to, std::int64_t to_stride);
  void (*winograd_output)(int tile_side, const float* from, std::int64_t from_stride,
                          std::int64_t channels, const float* bias, bool relu, float* const* pixels,
                          std::int64_t first);
  //   tiles   1 to tile_pixels
  //   from    (tiles) of `depth` floats, from_stride apart
  //   weight  (depth, tile_channels), 64-byte aligned
  //   next    what is read next, `next_step` floats for each of `depth`: fetched in the meantime
  //   to      (tiles, tile_channels): written
  void (*winograd_products)(int tiles, const float* from, std::int64_t from_stride,
                            const float* weight, std::int64_t depth, const float* next,
                            std::int64_t next_step, float* to);

  // winograd_products on whole numbers of 16 bits: products of pairs along the depth, summed in 32
  // bits, times a scale of the tile's and one of the channel's; null where the processor has no
  // instruction for it.
  //   from    (tiles) of 2 `pairs` numbers, from_stride apart, kInt16Most at most in size
  //   weight  (pairs, tile_channels, 2), 32-byte aligned, of which those of a channel are
  //           kInt16Weights at most in size together
  //   next    as above, `next_step` numbers for each of `pairs`
  //   from_scale (tiles), weight_scale (tile_channels)
  void (*winograd_products_int16)(int tiles, const std::int16_t* from, std::int64_t from_stride,
                                  const std::int16_t* weight, std::int64_t pairs,
                                  const std::int16_t* next, std::int64_t next_step,
                                  const float* from_scale, const float* weight_scale, float* to);

  // Rows of `count` values as whole numbers: the nearest to a value over its row's scale, with
  // which the row's largest is kInt16Most in size, or of tiny rows less.  Of a row with a value
  // that is not finite, neither is the scale, and the numbers are zeros or within the sizes.
  //   from   (rows) of `count` floats, from_stride apart; rows <= kMaxInt16Rows
  //   to     (rows) of `count` numbers, to_stride apart: written
  //   scale  (rows), scale_stride apart: written
  void (*to_int16)(std::int64_t rows, std::int64_t count, const float* from,
                   std::int64_t from_stride, std::int16_t* to, std::int64_t to_stride, float* scale,
                   std::int64_t scale_stride);

  // c(m, n) = sum over k of [0, depth): a[k * tile_pixels + m] * b[k * tile_channels + n], for
  // `rows` <= tile_pixels rows m and tile_channels columns n; added to c where `add`.
  void (*gemm_tile)(int rows, const float* a, const float* b, std::int64_t depth, bool add,
                    float* c, std::int64_t c_stride);

  // v = momentum v + rate (gradient + decay w); w = w - v, of `count` values.
  void (*sgd)(std::int64_t count, float rate, float momentum, float decay, const float* gradient,
              float* weight, float* velocity);
};

// The kernels for this processor, or those that GOTURN_CPU_ISA names ("portable", "avx2", "avx512",
// "avx512_vnni"); throws std::runtime_error if it names some that this processor cannot run.
const Kernels& kernels();

}  // namespace goturn::cpu
