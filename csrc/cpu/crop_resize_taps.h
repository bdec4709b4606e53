// The taps of crop_resize's columns as byte offsets, for all outputs of a window at once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "resample_taps.h"
#include "shapes.h"

namespace goturn::cpu {

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

inline void find_columns(const CropWindow& window, const Frame& frame, Columns& columns) {
  const auto size = static_cast<std::int64_t>(columns.taps.size());
  const std::int64_t last = frame.width - 1 - window.left;
  columns.begin = columns.end = columns.last_begin = size;
  for (std::int64_t output = 0; output < size; ++output) {
    const AxisTaps taps = column_taps(output, window, size);
    columns.taps[static_cast<std::size_t>(output)] = {
        taps.low * frame.column_stride, taps.high * frame.column_stride, taps.weights};
    if (taps.weights.low == 0 && taps.weights.high == 0) continue;
    columns.begin = std::min(columns.begin, output);
    columns.end = output + 1;
    if (std::max(taps.low, taps.high) == last) {
      columns.last_begin = std::min(columns.last_begin, output);
    }
  }
  columns.last_begin = std::min(columns.last_begin, columns.end);
}

}  // namespace goturn::cpu
