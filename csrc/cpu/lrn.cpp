// Local response normalisation across channels, on planes: a stretch of pixels goes through all
// channels while the planes about a channel are in the cache.

#include <algorithm>
#include <cmath>

#include "cpu/buffer.h"
#include "cpu/threads.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

constexpr std::int64_t kPixelsPerTask = 256;

// Channels [first, last) about a channel.
struct Neighbours {
  std::int64_t first;
  std::int64_t last;
};

Neighbours neighbours_of(const LrnShape& shape, std::int64_t channel) {
  const std::int64_t half = shape.size / 2;
  return {std::max<std::int64_t>(0, channel - half), std::min(shape.channels, channel + half + 1)};
}

// The scale of `count` pixels of a channel; x is the image's first of those pixels.
void scale_of(const LrnShape& shape, const float* x, std::int64_t channel, std::int64_t count,
              float* scale) {
  const Neighbours window = neighbours_of(shape, channel);
  std::fill_n(scale, count, 0.0F);
  for (std::int64_t c = window.first; c < window.last; ++c) {
    const float* from = x + c * shape.pixels;
    for (std::int64_t i = 0; i < count; ++i) scale[i] += from[i] * from[i];
  }
  const float factor = shape.alpha / static_cast<float>(shape.size);
  for (std::int64_t i = 0; i < count; ++i) scale[i] = shape.k + factor * scale[i];
}

// power = scale ^ -beta.
void power_of(const LrnShape& shape, const float* scale, std::int64_t count, float* power) {
  if (shape.beta == 0.75F) {  // the network's: two square roots, which are exact to half a bit
    for (std::int64_t i = 0; i < count; ++i) {
      const float root = std::sqrt(scale[i]);
      power[i] = 1.0F / (root * std::sqrt(root));
    }
  } else {
    for (std::int64_t i = 0; i < count; ++i) power[i] = std::pow(scale[i], -shape.beta);
  }
}

// Calls body(offset, count) for stretches of pixels of all images, at `offset` from the first
// value.
template <class Body>
void for_stretches(const LrnShape& shape, const Body& body) {
  const std::int64_t parts = divide_up(shape.pixels, kPixelsPerTask);
  parallel_for(shape.batch * parts, [&](std::int64_t task) {
    const std::int64_t begin = task % parts * kPixelsPerTask;
    body(task / parts * shape.channels * shape.pixels + begin,
         std::min(kPixelsPerTask, shape.pixels - begin));
  });
}

}  // namespace

void lrn(const LrnShape& shape, const float* x, float* y) {
  for_stretches(shape, [&](std::int64_t offset, std::int64_t count) {
    float scale[kPixelsPerTask];
    float power[kPixelsPerTask];
    for (std::int64_t c = 0; c < shape.channels; ++c) {
      scale_of(shape, x + offset, c, count, scale);
      power_of(shape, scale, count, power);
      const float* from = x + offset + c * shape.pixels;
      float* to = y + offset + c * shape.pixels;
      for (std::int64_t i = 0; i < count; ++i) to[i] = from[i] * power[i];
    }
  });
}

void lrn_backward(const LrnShape& shape, const float* dy, const float* x, float* dx) {
  // With s the scale: dx_i = dy_i s_i^-beta - 2 alpha beta / size x_i sum_j dy_j x_j s_j^(-beta-1),
  // j over the channels about i.  The terms of the sum come first, for all channels.
  const Floats terms = floats(values_of({shape.batch, shape.channels, shape.pixels}));
  const auto factor =
      static_cast<float>(2.0 * static_cast<double>(shape.alpha) * static_cast<double>(shape.beta) /
                         static_cast<double>(shape.size));
  for_stretches(shape, [&](std::int64_t offset, std::int64_t count) {
    float scale[kPixelsPerTask];
    float power[kPixelsPerTask];
    for (std::int64_t c = 0; c < shape.channels; ++c) {
      const std::int64_t at = offset + c * shape.pixels;
      scale_of(shape, x + offset, c, count, scale);
      power_of(shape, scale, count, power);
      for (std::int64_t i = 0; i < count; ++i) {
        const float direct = dy[at + i] * power[i];
        dx[at + i] = direct;
        terms[static_cast<std::size_t>(at + i)] = direct * x[at + i] / scale[i];
      }
    }
    for (std::int64_t c = 0; c < shape.channels; ++c) {
      const std::int64_t at = offset + c * shape.pixels;
      const Neighbours window = neighbours_of(shape, c);
      float* const sums = power;
      std::fill_n(sums, count, 0.0F);
      for (std::int64_t j = window.first; j < window.last; ++j) {
        const float* from = terms.get() + offset + j * shape.pixels;
        for (std::int64_t i = 0; i < count; ++i) sums[i] += from[i];
      }
      for (std::int64_t i = 0; i < count; ++i) dx[at + i] -= factor * x[at + i] * sums[i];
    }
  });
}

}  // namespace goturn::cpu
