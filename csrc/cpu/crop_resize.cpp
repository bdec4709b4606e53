// Crop and resize, bit for bit as OpenCV's INTER_LINEAR does on 8-bit images.
//
//   across[x] = (p[low] * a0 + p[high] * a1) >> 4                           columns
//   value     = ((across0 * b0 >> 16) + (across1 * b1 >> 16) + 2) >> 2      rows
//
// with weights a, b in 1/2048.  Between the pixels and the crop everything fits 16 bits.  Each row
// of the frame passes through the columns' pass once at most, and rows that no output needs not at
// all. The canvas is never made: taps outside the visible part have weight zero, and outputs that
// lie wholly outside it are filled.
//
// A 400 x 400 window to 227 x 227 takes 0.3 M pairs of products across and 0.15 M down, and writes
// 0.6 MB, which is more than it reads.

#include <algorithm>
#include <array>
#include <vector>

#include "crop_resize_sse2.h"
#include "crop_resize_taps.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// The columns' pass over one row of the frame, of kPlanes channels, into `across` (kPlanes, size).
template <int kPlanes>
void resize_columns(const std::uint8_t* row, const Frame& frame, const Columns& columns,
                    std::int16_t* across) {
  const auto size = static_cast<std::int64_t>(columns.taps.size());
  std::int64_t x = columns.begin;
#if defined(__SSE2__)
  if (kPlanes == 3 && frame.channel_stride == 1 && frame.column_stride >= 3) {
    // Four bytes at a tap: a pixel of three channels must not be the last of its row.
    const std::int64_t end = frame.channels == 4 ? columns.end : columns.last_begin;
    x = sse2::resize_columns(row, columns.taps.data(), x, end, size, across);
  }
#endif
  for (; x < columns.end; ++x) {
    const ColumnTaps& tap = columns.taps[static_cast<std::size_t>(x)];
    for (int plane = 0; plane < kPlanes; ++plane) {
      const std::uint8_t* pixel = row + plane * frame.channel_stride;
      const int sum = pixel[tap.low] * tap.weights.low + pixel[tap.high] * tap.weights.high;
      across[plane * size + x] = static_cast<std::int16_t>(sum >> 4);
    }
  }
}

// The rows' pass for `count` values of a row of one output plane.
void resize_rows(const std::int16_t* low, const std::int16_t* high, Weights weights, float mean,
                 std::int64_t count, float* crop) {
  std::int64_t x = 0;
#if defined(__SSE2__)
  x = sse2::resize_rows(low, high, weights, mean, count, crop);
#endif
  for (; x < count; ++x) {
    const int sum = ((low[x] * weights.low) >> 16) + ((high[x] * weights.high) >> 16);
    crop[x] = static_cast<float>((sum + 2) >> 2) - mean;
  }
}

// Resizes windows of one frame, one after the other, with buffers that it keeps.
class Resizer {
 public:
  Resizer(const Frame& frame, const CropResizeParameters& parameters)
      : frame_(frame),
        parameters_(parameters),
        size_(parameters.size),
        planes_(frame.channels == 1 ? 1 : 3),
        columns_(size_),
        black_(static_cast<std::size_t>(planes_ * size_)) {
    for (Row& row : rows_) row.across.resize(black_.size());
  }

  // `crop` (3, size, size) is written.
  void resize(const CropWindow& window, float* crop) {
    find_columns(window, frame_, columns_);
    for (Row& row : rows_) row.index = kNone;
    for (std::int64_t output = 0; output < size_; ++output) {
      const AxisTaps taps = row_taps(output, window, size_);
      const Weights weights = taps.weights;
      const std::int16_t* low = across(window, taps.low, weights.low);
      const std::int16_t* high = across(window, taps.high, weights.high);
      for (int plane = 0; plane < 3; ++plane) {
        write_row(low, high, weights, plane, crop + (plane * size_ + output) * size_);
      }
    }
  }

 private:
  static constexpr std::int64_t kNone = -1;

  // A row of the visible part after the columns' pass: (planes, size).
  struct Row {
    std::int64_t index = kNone;
    std::vector<std::int16_t> across;
  };

  // Row `index` of the visible part after the columns' pass; black where it does not count.
  const std::int16_t* across(const CropWindow& window, std::int64_t index, std::int16_t weight) {
    if (weight == 0) return black_.data();
    for (const Row& row : rows_) {
      if (row.index == index) return row.across.data();
    }
    // Rows are asked for in ascending order: the smaller index is not wanted again.
    Row& row = rows_[0].index < rows_[1].index ? rows_[0] : rows_[1];
    row.index = index;
    const std::uint8_t* pixels = frame_.pixels + (window.top + index) * frame_.row_stride +
                                 window.left * frame_.column_stride;
    const auto pass = planes_ == 1 ? resize_columns<1> : resize_columns<3>;
    pass(pixels, frame_, columns_, row.across.data());
    return row.across.data();
  }

  // One row of an output plane, from the two rows about it.
  void write_row(const std::int16_t* low, const std::int16_t* high, Weights weights, int plane,
                 float* crop) const {
    const auto mean = static_cast<float>(parameters_.mean[static_cast<std::size_t>(plane)]);
    const float black = 0.0F - mean;
    if (low == black_.data() && high == black_.data()) {
      std::fill_n(crop, size_, black);
      return;
    }
    const std::int64_t channel = planes_ == 1 ? 0 : (parameters_.rgb ? 2 - plane : plane);
    const std::int64_t begin = columns_.begin;
    const std::int64_t first = channel * size_ + begin;
    std::fill(crop, crop + begin, black);
    resize_rows(low + first, high + first, weights, mean, columns_.end - begin, crop + begin);
    std::fill(crop + columns_.end, crop + size_, black);
  }

  const Frame frame_;
  const CropResizeParameters parameters_;
  const std::int64_t size_;
  const std::int64_t planes_;
  Columns columns_;
  const std::vector<std::int16_t> black_;
  std::array<Row, 2> rows_;
};

}  // namespace

void crop_resize(const Frame& frame, const CropWindow* windows, std::int64_t count,
                 const CropResizeParameters& parameters, float* crops) {
  Resizer resizer(frame, parameters);
  const std::int64_t crop_values = 3 * parameters.size * parameters.size;
  for (std::int64_t index = 0; index < count; ++index) {
    resizer.resize(windows[index], crops + index * crop_values);
  }
}

}  // namespace goturn::cpu
