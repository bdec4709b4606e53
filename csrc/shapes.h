// Shapes and parameters of the operations, and their validation: one statement for every device.
//
// Letters: N batch, C channels, H height, W width.  Sizes and positions are in pixels, strides in
// bytes.  validate() throws std::invalid_argument (ValueError in Python) with one sentence; what it
// accepts, an operation may use without another check.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace goturn {

// An (H, W, C) image of 8-bit values at any strides, negative ones included.
struct Frame {
  const std::uint8_t* pixels;  // value (0, 0, 0)
  std::int64_t height;
  std::int64_t width;
  std::int64_t channels;  // 1 grey, 3 BGR, 4 BGRA
  std::ptrdiff_t row_stride;
  std::ptrdiff_t column_stride;
  std::ptrdiff_t channel_stride;
};

// A search window: a black canvas of width x height pixels on which the columns x rows pixels of
// the frame from (left, top) lie at (paste_x, paste_y).  Laid out as a row of the table that Python
// gives.
struct CropWindow {
  std::int64_t width;
  std::int64_t height;
  std::int64_t paste_x;
  std::int64_t paste_y;
  std::int64_t left;
  std::int64_t top;
  std::int64_t columns;
  std::int64_t rows;
};
inline constexpr std::int64_t kCropWindowFields = 8;
static_assert(sizeof(CropWindow) == kCropWindowFields * sizeof(std::int64_t));

struct CropResizeParameters {
  std::int64_t size;           // side of the crops
  std::array<double, 3> mean;  // of each output plane; subtracted as float32
  bool rgb;                    // output planes in the order RGB instead of BGR
};

// y (batch, outputs) = x (batch, inputs) times weight (outputs, inputs) transposed.  Strides are in
// values, from row to row.
struct LinearShape {
  std::int64_t batch;
  std::int64_t inputs;
  std::int64_t outputs;
  std::int64_t x_stride;
  std::int64_t weight_stride;
};

// x (batch, channels, height, width) by weight (outputs, channels / groups, kernel_height,
// kernel_width); group g maps its slice of the input's channels to its slice of the output's.
struct ConvShape {
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t height;
  std::int64_t width;
  std::int64_t outputs;
  std::int64_t kernel_height;
  std::int64_t kernel_width;
  std::int64_t stride = 1;
  std::int64_t pad = 0;
  std::int64_t groups = 1;

  std::int64_t out_height() const { return (height + 2 * pad - kernel_height) / stride + 1; }
  std::int64_t out_width() const { return (width + 2 * pad - kernel_width) / stride + 1; }
};

// Max over kernel x kernel windows of x (batch, channels, height, width), by Caffe's ceil mode.
struct PoolShape {
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t height;
  std::int64_t width;
  std::int64_t kernel;
  std::int64_t stride;
  std::int64_t pad;

  std::int64_t out_height() const { return extent(height); }
  std::int64_t out_width() const { return extent(width); }

 private:
  std::int64_t extent(std::int64_t size) const {
    const std::int64_t left = size + 2 * pad - kernel;
    const std::int64_t count = left / stride + (left % stride != 0) + 1;
    // A last window that would start beyond the image is dropped.
    return (count - 1) * stride >= size + pad ? count - 1 : count;
  }
};

// Local response normalisation over `size` channels of x (batch, channels, pixels).
struct LrnShape {
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t pixels;
  std::int64_t size;
  float alpha;
  float beta;
  float k;
};

// Pairs of feature maps (batch, channels, cells), each cell of one matched with each of the other.
struct MatchShape {
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t cells;
  float scale;
};

// Added to the sum of squares of a cell's channels: a cell whose channels are equal matches
// nothing.
inline constexpr float kMatchEpsilon = 1e-6F;
inline constexpr std::int64_t kMaxMatchCells = std::int64_t{1} << 16;

// v = momentum v + rate (gradient + decay w); w = w - v.
struct SgdRates {
  float rate;
  float momentum;
  float decay;
};

// v = momentum v + fresh gradient; s = squares s + fresh_squares gradient^2;
// w = w - step v / (root sqrt(s) + epsilon) - shrink w.
struct AdamRates {
  float momentum;
  float fresh;  // 1 - momentum, of numbers that are exact
  float squares;
  float fresh_squares;
  float step;
  float root;
  float shrink;
  float epsilon;
};

// Bounds on strides and pads, so that no size computed from them can overflow.
inline constexpr std::int64_t kMaxStep = std::int64_t{1} << 40;
inline constexpr std::int64_t kMaxCropSize = std::int64_t{1} << 13;
// Up to here a canvas's coordinates are exact doubles.
inline constexpr std::int64_t kMaxCanvasSize = std::int64_t{1} << 53;
inline constexpr double kMaxMean = 1e6;

inline void validate(const Frame& frame) {
  if (frame.height < 1 || frame.width < 1 ||
      (frame.channels != 1 && frame.channels != 3 && frame.channels != 4)) {
    throw std::invalid_argument(
        "crop_resize: frame must be (H, W, C) with at least one pixel and C of 1, 3 or 4; got (" +
        std::to_string(frame.height) + ", " + std::to_string(frame.width) + ", " +
        std::to_string(frame.channels) + ")");
  }
}

inline void validate(const CropResizeParameters& parameters) {
  if (parameters.size < 1 || parameters.size > kMaxCropSize) {
    throw std::invalid_argument("crop_resize: size must be 1 to " + std::to_string(kMaxCropSize) +
                                " pixels; got " + std::to_string(parameters.size));
  }
  for (const double value : parameters.mean) {
    if (!(std::abs(value) <= kMaxMean)) {  // true for NaN too
      throw std::invalid_argument("crop_resize: mean must be three numbers between -1e6 and 1e6");
    }
  }
}

namespace detail {

// One axis of a window: `count` pixels from `first` of `extent`, at `paste` on `canvas`.
inline void validate_window_axis(std::int64_t index, const char* axis, std::int64_t canvas,
                                 std::int64_t paste, std::int64_t first, std::int64_t count,
                                 std::int64_t extent) {
  const auto fail = [&](const std::string& what) {
    throw std::invalid_argument("crop_resize: window " + std::to_string(index) + ": " + what);
  };
  const auto part = [&](const char* preposition, std::int64_t position) {
    return "visible part, " + std::to_string(count) + " pixels " + preposition + " " +
           std::to_string(position) + " in " + axis + ", is not inside the ";
  };
  if (canvas < 1 || canvas > kMaxCanvasSize) {
    fail("canvas must be 1 to " + std::to_string(kMaxCanvasSize) + " pixels in " + axis + "; got " +
         std::to_string(canvas));
  }
  // Ordered so that no difference can overflow: each is taken only with a count >= 1.
  if (first < 0 || count < 1 || first > extent - count) {
    fail(part("from", first) + "frame of " + std::to_string(extent));
  }
  if (paste < 0 || paste > canvas - count) {
    fail(part("at", paste) + "canvas of " + std::to_string(canvas));
  }
}

}  // namespace detail

// Whether window number `index` fits `frame`, which has been validated.
inline void validate(const CropWindow& window, const Frame& frame, std::int64_t index) {
  detail::validate_window_axis(index, "x", window.width, window.paste_x, window.left,
                               window.columns, frame.width);
  detail::validate_window_axis(index, "y", window.height, window.paste_y, window.top, window.rows,
                               frame.height);
}

// That the convolution's sizes fit each other; those of the arrays' dimensions are >= 0.
inline void validate(const ConvShape& shape, std::int64_t weight_channels) {
  const auto fail = [](const std::string& what) { throw std::invalid_argument("conv2d: " + what); };
  const auto text = [](std::int64_t value) { return std::to_string(value); };
  const std::int64_t groups = shape.groups;
  if (shape.stride < 1 || shape.pad < 0 || groups < 1 || shape.stride > kMaxStep ||
      shape.pad > kMaxStep) {
    fail("stride and groups must be >= 1 and pad >= 0; got stride " + text(shape.stride) +
         ", groups " + text(groups) + ", pad " + text(shape.pad));
  }
  if (shape.channels % groups != 0 || shape.channels / groups != weight_channels) {
    const bool fits = weight_channels > 0 && shape.channels % weight_channels == 0;
    fail("weight has " + text(weight_channels) + " input channels per group, input has " +
         text(shape.channels) + " / " + text(groups) + (groups > 1 ? " groups" : " group") +
         (fits ? "; did you pass groups=" + text(shape.channels / weight_channels) + "?" : ""));
  }
  if (shape.outputs % groups != 0) {
    fail(text(shape.outputs) + " output channels do not divide into " + text(groups) + " groups");
  }
  if (shape.kernel_height < 1 || shape.kernel_width < 1 ||
      shape.height + 2 * shape.pad < shape.kernel_height ||
      shape.width + 2 * shape.pad < shape.kernel_width) {
    fail("a kernel of " + text(shape.kernel_height) + "x" + text(shape.kernel_width) +
         " does not fit into an input of " + text(shape.height) + "x" + text(shape.width) +
         " with pad " + text(shape.pad));
  }
}

inline void validate(const PoolShape& shape) {
  const auto text = [](std::int64_t value) { return std::to_string(value); };
  if (shape.kernel < 1 || shape.stride < 1 || shape.pad < 0 || shape.pad >= shape.kernel ||
      shape.kernel > kMaxStep || shape.stride > kMaxStep) {
    throw std::invalid_argument(
        "max_pool: kernel and stride must be >= 1 and 0 <= pad < kernel; got kernel " +
        text(shape.kernel) + ", stride " + text(shape.stride) + ", pad " + text(shape.pad));
  }
  if (shape.height + 2 * shape.pad < shape.kernel || shape.width + 2 * shape.pad < shape.kernel) {
    throw std::invalid_argument("max_pool: a kernel of " + text(shape.kernel) + "x" +
                                text(shape.kernel) + " does not fit into an input of " +
                                text(shape.height) + "x" + text(shape.width) + " with pad " +
                                text(shape.pad));
  }
}

inline void validate(const LrnShape& shape) {
  if (shape.size < 1 || shape.size % 2 == 0 || shape.size > kMaxStep) {
    throw std::invalid_argument("lrn: size must be odd and >= 1; got " +
                                std::to_string(shape.size));
  }
}

// Of features (batch, features) that are `cells` places of some channels.
inline void validate(const MatchShape& shape, std::int64_t features, const std::string& op) {
  if (shape.cells < 1 || shape.cells > kMaxMatchCells) {
    throw std::invalid_argument(op + ": cells must be 1 to " + std::to_string(kMaxMatchCells) +
                                "; got " + std::to_string(shape.cells));
  }
  if (features < 1 || features % shape.cells != 0) {
    throw std::invalid_argument(op + ": " + std::to_string(features) +
                                " features are not some channels of " +
                                std::to_string(shape.cells) + " cells each");
  }
  if (!std::isfinite(shape.scale)) {
    throw std::invalid_argument(op + ": scale must be finite; got " + std::to_string(shape.scale));
  }
}

}  // namespace goturn
