// A convolution of some stride as one of stride 1, which Winograd's algorithm can take.
//
// Squares of stride x stride pixels, borders included, become single pixels with all the channels
// of the square, row by row; the kernel is rounded up to whole squares, with zeros.  conv1, 11 x 11
// of stride 4 on 227 x 227 x 3, becomes 3 x 3 on 57 x 57 x 48.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu/buffer.h"
#include "cpu/conv2d_packed.h"

namespace goturn::cpu {

inline Image phase_image(const Image& in, std::int64_t stride) {
  return {divide_up(in.height + 2 * in.pad, stride), divide_up(in.width + 2 * in.pad, stride),
          values_of({in.channels, stride, stride}), 0};
}

// Weights (outputs, channels, kernel, kernel) as (outputs, side, side, stride, stride, channels),
// `side` being the kernel's in squares.
inline std::vector<float> phase_filters(const float* weight, std::int64_t outputs,
                                        std::int64_t channels, std::int64_t kernel,
                                        std::int64_t stride) {
  const std::int64_t side = divide_up(kernel, stride);
  const std::int64_t values = values_of({outputs, side, side, stride, stride, channels});
  std::vector<float> filters(static_cast<std::size_t>(values));
  for (std::int64_t row = 0; row < outputs * channels * kernel; ++row) {
    const std::int64_t y = row % kernel, c = row / kernel % channels;
    const std::int64_t output = row / kernel / channels;
    for (std::int64_t x = 0; x < kernel; ++x) {
      const std::int64_t square = (output * side + y / stride) * side + x / stride;
      const std::int64_t pixel = (square * stride + y % stride) * stride + x % stride;
      filters[static_cast<std::size_t>(pixel * channels + c)] = weight[row * kernel + x];
    }
  }
  return filters;
}

// Row y of an image (H, W, C), given without its border, to its places in the phase image.
inline void row_to_phases(const float* row, const Image& in, std::int64_t y, std::int64_t stride,
                          float* phases) {
  const Image image = phase_image(in, stride);
  y += in.pad;
  float* to = phases + image.at(y / stride, 0) + y % stride * stride * in.channels;
  for (std::int64_t x = 0; x < in.width;) {
    const std::int64_t at = x + in.pad;
    const std::int64_t count = std::min(stride - at % stride, in.width - x);  // up to a border
    std::copy_n(row + x * in.channels, count * in.channels,
                to + at / stride * image.channels + at % stride * in.channels);
    x += count;
  }
}

}  // namespace goturn::cpu
