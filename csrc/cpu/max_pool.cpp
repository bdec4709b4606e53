// Max pooling of planes.  A row of outputs takes its windows' pixels tap by tap: the tap (r, s) of
// neighbouring windows lies `stride` pixels apart, so that there is no loop over a window's pixels
// for each output.

#include <algorithm>
#include <limits>

#include "cpu/buffer.h"
#include "cpu/threads.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// Windows [first, last) of an axis whose tap number `tap` lies inside the image.
struct Windows {
  std::int64_t first;
  std::int64_t last;
};

Windows windows_of(const PoolShape& shape, std::int64_t tap, std::int64_t extent,
                   std::int64_t count) {
  const std::int64_t before = std::max<std::int64_t>(0, shape.pad - tap);
  const std::int64_t inside = std::max<std::int64_t>(0, extent + shape.pad - tap);
  return {divide_up(before, shape.stride), std::min(count, divide_up(inside, shape.stride))};
}

// Taps [first, last) of window number `index` that lie inside the image.
struct Taps {
  std::int64_t first;
  std::int64_t last;
};

Taps taps_of(const PoolShape& shape, std::int64_t index, std::int64_t extent) {
  const std::int64_t start = index * shape.stride - shape.pad;
  return {std::max(start, std::int64_t{0}), std::min(start + shape.kernel, extent)};
}

// The larger, and a NaN if there is one.
inline float larger(float value, float maximum) {
  return value > maximum || value != value ? value : maximum;
}

void pool_row(const PoolShape& shape, const float* plane, std::int64_t p, float* y) {
  const std::int64_t columns = shape.out_width();
  const Taps rows = taps_of(shape, p, shape.height);
  std::fill_n(y, columns, -std::numeric_limits<float>::infinity());
  // A kernel may be far wider than the image: only its taps that some window has inside.
  const std::int64_t first_tap =
      std::max<std::int64_t>(0, shape.pad - (columns - 1) * shape.stride);
  const std::int64_t last_tap = std::min(shape.kernel, shape.width + shape.pad);
  for (std::int64_t row = rows.first; row < rows.last; ++row) {
    for (std::int64_t tap = first_tap; tap < last_tap; ++tap) {
      const Windows windows = windows_of(shape, tap, shape.width, columns);
      const float* x = plane + row * shape.width + tap - shape.pad;
      for (std::int64_t q = windows.first; q < windows.last; ++q) {
        y[q] = larger(x[q * shape.stride], y[q]);
      }
    }
  }
}

}  // namespace

void max_pool(const PoolShape& shape, const float* x, float* y) {
  const std::int64_t rows = shape.out_height(), columns = shape.out_width();
  parallel_for(shape.batch * shape.channels, [&](std::int64_t plane) {
    const float* from = x + plane * shape.height * shape.width;
    float* to = y + plane * rows * columns;
    for (std::int64_t p = 0; p < rows; ++p) pool_row(shape, from, p, to + p * columns);
  });
}

void max_pool_backward(const PoolShape& shape, const float* dy, const float* x, float* dx) {
  const std::int64_t rows = shape.out_height(), columns = shape.out_width();
  const std::int64_t area = shape.height * shape.width;
  parallel_for(shape.batch * shape.channels, [&](std::int64_t plane) {
    const float* from = x + plane * area;
    float* to = dx + plane * area;
    std::fill_n(to, area, 0.0F);
    for (std::int64_t p = 0; p < rows; ++p) {
      const Taps vertical = taps_of(shape, p, shape.height);
      for (std::int64_t q = 0; q < columns; ++q) {
        const Taps horizontal = taps_of(shape, q, shape.width);
        std::int64_t first = vertical.first * shape.width + horizontal.first;
        bool number = true;  // a window that holds a NaN passes nothing back
        for (std::int64_t row = vertical.first; row < vertical.last; ++row) {
          for (std::int64_t column = horizontal.first; column < horizontal.last; ++column) {
            const float value = from[row * shape.width + column];
            number = number && value == value;
            if (value > from[first]) first = row * shape.width + column;
          }
        }
        if (number) to[first] += dy[(plane * rows + p) * columns + q];
      }
    }
  });
}

}  // namespace goturn::cpu
