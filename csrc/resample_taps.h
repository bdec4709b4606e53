// Where each output of crop_resize samples its window, and with which weights: one statement for
// every device, since the crops must be the same to the bit.
#pragma once

#include <cmath>
#include <cstdint>

#include "shapes.h"

#ifdef __CUDACC__
#define GOTURN_HOST_DEVICE __host__ __device__
#else
#define GOTURN_HOST_DEVICE
#endif

namespace goturn {

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

// The two pixels of an axis that an output mixes, counted from the first of the visible part.  A
// tap in the black counts as some pixel of the visible part and has weight zero.
struct AxisTaps {
  std::int64_t low;
  std::int64_t high;
  Weights weights;
};

GOTURN_HOST_DEVICE inline SamplePoint sample_point(std::int64_t output, std::int64_t extent,
                                                   std::int64_t size) {
  // As OpenCV has it; extent / size can differ in the last bit.
  const double scale = 1.0 / (static_cast<double>(size) / static_cast<double>(extent));
  const double centre = static_cast<double>(output) + 0.5;
#ifdef __CUDA_ARCH__
  const double exact = __dadd_rn(__dmul_rn(centre, scale), -0.5);  // no fused multiply-add
#else
  const double exact = centre * scale - 0.5;
#endif
  const auto position = static_cast<float>(exact);
  const float below = std::floor(position);
  return {static_cast<std::int64_t>(below), position - below};
}

GOTURN_HOST_DEVICE inline Weights weights_of(float fraction) {
  constexpr float one = 2048.0F;
  return {static_cast<std::int16_t>(std::lrint((1.0F - fraction) * one)),
          static_cast<std::int16_t>(std::lrint(fraction * one))};
}

// The taps at pixels `low` and `high` of the canvas, where `count` pixels from `paste` are visible.
GOTURN_HOST_DEVICE inline AxisTaps visible_taps(std::int64_t low, std::int64_t high,
                                                std::int64_t paste, std::int64_t count,
                                                Weights weights) {
  low -= paste;
  high -= paste;
  const bool low_visible = weights.low != 0 && low >= 0 && low < count;
  const bool high_visible = weights.high != 0 && high >= 0 && high < count;
  if (!low_visible) weights.low = 0;
  if (!high_visible) weights.high = 0;
  const std::int64_t some = low_visible ? low : (high_visible ? high : 0);
  return {low_visible ? low : some, high_visible ? high : some, weights};
}

GOTURN_HOST_DEVICE inline std::int64_t clamp_to_canvas(std::int64_t at, std::int64_t extent) {
  return at < 0 ? 0 : (at < extent ? at : extent - 1);
}

GOTURN_HOST_DEVICE inline AxisTaps column_taps(std::int64_t output, const CropWindow& window,
                                               std::int64_t size) {
  SamplePoint point = sample_point(output, window.width, size);
  if (point.low < 0 || point.low >= window.width - 1) {
    point.fraction = 0.0F;  // no neighbour beyond the first and the last column
  }
  const std::int64_t low = clamp_to_canvas(point.low, window.width);
  return visible_taps(low, low + 1, window.paste_x, window.columns, weights_of(point.fraction));
}

GOTURN_HOST_DEVICE inline AxisTaps row_taps(std::int64_t output, const CropWindow& window,
                                            std::int64_t size) {
  // Rows beyond the first and the last are repeated and keep both weights, unlike columns.
  const SamplePoint point = sample_point(output, window.height, size);
  return visible_taps(clamp_to_canvas(point.low, window.height),
                      clamp_to_canvas(point.low + 1, window.height), window.paste_y, window.rows,
                      weights_of(point.fraction));
}

}  // namespace goturn
