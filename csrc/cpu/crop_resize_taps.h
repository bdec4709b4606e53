// Where each output of crop_resize samples its window, and with which weights.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "shapes.h"

namespace goturn::cpu {

// Where an output samples an axis: between pixel `low` and the next, `fraction` of the way.
struct SamplePoint {
  std::int64_t low;
  float fraction;
};

// The two weights of a sample point, in 1/2048.
struct Weights {
  std::int16_t low;
  std::int16_t high;
};

// An output column's taps: byte offsets from the visible part's first column.
struct ColumnTaps {
  std::ptrdiff_t low;
  std::ptrdiff_t high;
  Weights weights;
};

// The taps of all output columns of a window.
struct Columns {
  explicit Columns(std::int64_t size) : taps(static_cast<std::size_t>(size)) {}

  std::vector<ColumnTaps> taps;
  std::int64_t begin = 0;  // outputs [begin, end) see the frame, the others are black
  std::int64_t end = 0;
  std::int64_t last_begin = 0;  // outputs [last_begin, end) touch the frame's last column
};

inline SamplePoint sample_point(std::int64_t output, std::int64_t extent, std::int64_t size) {
  // As OpenCV has it; extent / size can differ in the last bit.
  const double scale = 1.0 / (static_cast<double>(size) / static_cast<double>(extent));
  const auto position = static_cast<float>((static_cast<double>(output) + 0.5) * scale - 0.5);
  const float below = std::floor(position);
  return {static_cast<std::int64_t>(below), position - below};
}

inline Weights weights_of(float fraction) {
  constexpr float one = 2048.0F;
  return {static_cast<std::int16_t>(std::lrint((1.0F - fraction) * one)),
          static_cast<std::int16_t>(std::lrint(fraction * one))};
}

inline bool inside(std::int64_t index, std::int64_t count) { return index >= 0 && index < count; }

inline void find_columns(const CropWindow& window, const Frame& frame, Columns& columns) {
  const auto size = static_cast<std::int64_t>(columns.taps.size());
  const std::int64_t last = frame.width - 1 - window.left;
  columns.begin = columns.end = columns.last_begin = size;
  for (std::int64_t output = 0; output < size; ++output) {
    SamplePoint point = sample_point(output, window.width, size);
    if (point.low < 0 || point.low >= window.width - 1) {
      point.fraction = 0.0F;  // no neighbour beyond the first and the last column
    }
    const std::int64_t canvas_x = std::clamp(point.low, std::int64_t{0}, window.width - 1);
    const std::int64_t x = canvas_x - window.paste_x;
    Weights weights = weights_of(point.fraction);
    const bool low_inside = inside(x, window.columns);
    const bool high_inside = weights.high != 0 && inside(x + 1, window.columns);
    // A tap in the black keeps a valid offset and loses its weight.
    if (!low_inside) weights.low = 0;
    if (!high_inside) weights.high = 0;
    const std::int64_t low = low_inside ? x : 0;
    const std::int64_t high = high_inside ? x + 1 : low;
    columns.taps[static_cast<std::size_t>(output)] = {low * frame.column_stride,
                                                      high * frame.column_stride, weights};
    if (!low_inside && !high_inside) continue;
    columns.begin = std::min(columns.begin, output);
    columns.end = output + 1;
    if (high == last) columns.last_begin = std::min(columns.last_begin, output);
  }
  columns.last_begin = std::min(columns.last_begin, columns.end);
}

}  // namespace goturn::cpu
