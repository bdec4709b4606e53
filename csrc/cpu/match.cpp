// The match of two feature maps: products of columns of mean 0 and length 1, a pair of maps at a
// time.  A pair is small (83 thousand products for 64 channels of 36 cells) and stays in the cache;
// the innermost loops go along cells, which lie together.

#include <algorithm>
#include <cmath>

#include "cpu/buffer.h"
#include "cpu/threads.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// Where the columns of a pair of maps are put, and what belongs to them.
struct Columns {
  float* unit;  // (C, cells): of mean 0 and, nearly, length 1
  float* size;  // (cells): what they were divided by
};

// columns = features (C, cells) less each cell's mean, divided by `size`.
void standardise(const MatchShape& shape, const float* features, double* means,
                 const Columns& columns) {
  const std::int64_t cells = shape.cells;
  // In double: what is left of a column of one value is then nothing, not a rounding error.
  std::fill_n(means, cells, 0.0);
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    const float* from = features + c * cells;
    for (std::int64_t i = 0; i < cells; ++i) means[i] += static_cast<double>(from[i]);
  }
  const auto channels = static_cast<double>(shape.channels);
  for (std::int64_t i = 0; i < cells; ++i) means[i] /= channels;
  std::fill_n(columns.size, cells, 0.0F);
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    const float* from = features + c * cells;
    float* to = columns.unit + c * cells;
    for (std::int64_t i = 0; i < cells; ++i) {
      to[i] = from[i] - static_cast<float>(means[i]);
      columns.size[i] += to[i] * to[i];
    }
  }
  for (std::int64_t i = 0; i < cells; ++i) {
    columns.size[i] = std::sqrt(columns.size[i] + kMatchEpsilon);
  }
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    float* to = columns.unit + c * cells;
    for (std::int64_t i = 0; i < cells; ++i) to[i] /= columns.size[i];
  }
}

// features = the gradient of what became `columns`, from that of their unit columns, which lies in
// `features` (C, cells).
void standardise_backward(const MatchShape& shape, const Columns& columns, double* means,
                          float* products, float* features) {
  const std::int64_t cells = shape.cells;
  std::fill_n(products, cells, 0.0F);
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    const float* unit = columns.unit + c * cells;
    const float* gradient = features + c * cells;
    for (std::int64_t i = 0; i < cells; ++i) products[i] += unit[i] * gradient[i];
  }
  std::fill_n(means, cells, 0.0);
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    const float* unit = columns.unit + c * cells;
    float* gradient = features + c * cells;
    for (std::int64_t i = 0; i < cells; ++i) {
      gradient[i] = (gradient[i] - unit[i] * products[i]) / columns.size[i];
      means[i] += static_cast<double>(gradient[i]);
    }
  }
  const auto channels = static_cast<double>(shape.channels);
  for (std::int64_t i = 0; i < cells; ++i) means[i] /= channels;
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    float* gradient = features + c * cells;
    for (std::int64_t i = 0; i < cells; ++i) gradient[i] -= static_cast<float>(means[i]);
  }
}

// y (C, cells) = scale times x (C, cells) times map (cells, cells).
void multiply(const MatchShape& shape, const float* x, const float* map, float* y) {
  const std::int64_t cells = shape.cells;
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    float* const to = y + c * cells;
    std::fill_n(to, cells, 0.0F);
    for (std::int64_t k = 0; k < cells; ++k) {
      const float factor = x[c * cells + k];
      const float* const row = map + k * cells;
      for (std::int64_t i = 0; i < cells; ++i) to[i] += factor * row[i];
    }
    for (std::int64_t i = 0; i < cells; ++i) to[i] *= shape.scale;
  }
}

// Room for the columns of a pair, and for a cell's mean and products.
struct Room {
  explicit Room(const MatchShape& shape)
      : values(floats(values_of({2 * shape.channels + shape.cells + 3, shape.cells}))),
        means(buffer_of<double>(shape.cells)) {
    const std::int64_t columns = shape.channels * shape.cells;
    float* at = values.get();
    targets = {at, at + columns};
    at += columns + shape.cells;
    searches = {at, at + columns};
    products = at + columns + shape.cells;
    transposed = products + shape.cells;
  }

  Floats values;
  Buffer<double> means;
  Columns targets;
  Columns searches;
  float* products;    // (cells)
  float* transposed;  // (cells, cells)
};

}  // namespace

void match(const MatchShape& shape, const float* targets, const float* searches, float* y) {
  const std::int64_t features = shape.channels * shape.cells;
  const std::int64_t cells = shape.cells;
  parallel_for(shape.batch, [&](std::int64_t n) {
    const Room room(shape);
    standardise(shape, targets + n * features, room.means.get(), room.targets);
    standardise(shape, searches + n * features, room.means.get(), room.searches);
    float* const map = y + n * cells * cells;
    std::fill_n(map, cells * cells, 0.0F);
    for (std::int64_t c = 0; c < shape.channels; ++c) {
      const float* a = room.targets.unit + c * cells;
      const float* b = room.searches.unit + c * cells;
      for (std::int64_t x = 0; x < cells; ++x) {
        const float factor = a[x];
        float* const row = map + x * cells;
        for (std::int64_t i = 0; i < cells; ++i) row[i] += factor * b[i];
      }
    }
    for (std::int64_t i = 0; i < cells * cells; ++i) map[i] *= shape.scale;
  });
}

void match_backward(const MatchShape& shape, const float* dy, const float* targets,
                    const float* searches, float* d_targets, float* d_searches) {
  const std::int64_t features = shape.channels * shape.cells;
  const std::int64_t cells = shape.cells;
  parallel_for(shape.batch, [&](std::int64_t n) {
    const Room room(shape);
    standardise(shape, targets + n * features, room.means.get(), room.targets);
    standardise(shape, searches + n * features, room.means.get(), room.searches);
    const float* const map = dy + n * cells * cells;
    float* const to_targets = d_targets + n * features;
    float* const to_searches = d_searches + n * features;
    for (std::int64_t x = 0; x < cells; ++x) {
      for (std::int64_t i = 0; i < cells; ++i) room.transposed[i * cells + x] = map[x * cells + i];
    }
    multiply(shape, room.searches.unit, room.transposed, to_targets);
    multiply(shape, room.targets.unit, map, to_searches);
    standardise_backward(shape, room.targets, room.means.get(), room.products, to_targets);
    standardise_backward(shape, room.searches, room.means.get(), room.products, to_searches);
  });
}

}  // namespace goturn::cpu
