// The match of two feature maps, forward and backward.
//
// Small work (83 thousand products for 64 channels of 36 cells), so what counts is that all of it
// is under way at once.  First a warp for each cell of each map makes its column: mean 0, nearly
// length 1; it is stored, with what it was divided by.  Then a thread for each pair of cells, which
// goes through the channels.  Backward the products come first, a thread for each feature, and then
// a warp for each cell takes them through the division and the mean.

#include <cmath>

#include "cuda/grid.h"
#include "cuda/ops.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kLanes = 32;
constexpr unsigned kAllLanes = 0xffffffffU;

// The same in every lane, and in any number of runs.
template <class Sum>
__device__ __forceinline__ Sum sum_of_lanes(Sum sum) {
  for (int distance = kLanes / 2; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(kAllLanes, sum, distance);
  }
  return sum;
}

// Columns of both sides: (2, batch, channels + 1, cells), the last of the channels being what the
// column was divided by.
struct Columns {
  std::int64_t batch;
  std::int64_t channels;
  std::int64_t cells;
  float* values;

  // The first value of a map's.
  __device__ __forceinline__ float* of(std::int64_t side, std::int64_t example) const {
    return values + (side * batch + example) * (channels + 1) * cells;
  }
};

// A cell of a map, counted through sides, examples and cells.
struct Cell {
  std::int64_t side;
  std::int64_t example;
  std::int64_t cell;

  __device__ __forceinline__ Cell(const Columns& columns, std::int64_t index)
      : side(index / (columns.batch * columns.cells)),
        example(index / columns.cells % columns.batch),
        cell(index % columns.cells) {}
};

__global__ void standardise(Columns columns, MatchInput targets, MatchInput searches) {
  const std::int64_t lane = threadIdx.x % kLanes;
  const std::int64_t cells = columns.cells, channels = columns.channels;
  const std::int64_t count = 2 * columns.batch * cells;
  for (std::int64_t i = first_piece() / kLanes; i < count; i += next_piece() / kLanes) {
    const Cell at(columns, i);
    const MatchInput& side = at.side == 0 ? targets : searches;
    const float* from = side.features + at.example * side.stride + at.cell;
    float* to = columns.of(at.side, at.example) + at.cell;
    // In double: what is left of a column of one value is then nothing, not a rounding error.
    double sum = 0.0;
    for (std::int64_t c = lane; c < channels; c += kLanes) {
      sum += static_cast<double>(from[c * cells]);
    }
    const auto mean = static_cast<float>(sum_of_lanes(sum) / static_cast<double>(channels));
    float squares = 0.0F;
    for (std::int64_t c = lane; c < channels; c += kLanes) {
      const float value = from[c * cells] - mean;
      squares = fmaf(value, value, squares);
    }
    const float size = sqrtf(sum_of_lanes(squares) + kMatchEpsilon);
    for (std::int64_t c = lane; c < channels; c += kLanes) {
      to[c * cells] = (from[c * cells] - mean) / size;
    }
    if (lane == 0) to[channels * cells] = size;
  }
}

__global__ void products(Columns columns, float scale, float* y, std::int64_t y_stride) {
  const std::int64_t cells = columns.cells, pairs = cells * cells;
  for (std::int64_t i = first_piece(); i < columns.batch * pairs; i += next_piece()) {
    const std::int64_t example = i / pairs, pair = i % pairs;
    const float* a = columns.of(0, example) + pair / cells;
    const float* b = columns.of(1, example) + pair % cells;
    float sum = 0.0F;
    for (std::int64_t c = 0; c < columns.channels; ++c) sum = fmaf(a[c * cells], b[c * cells], sum);
    y[example * y_stride + pair] = scale * sum;
  }
}

// The gradients of the columns.
__global__ void gradients_of_columns(Columns columns, float scale, const float* dy,
                                     float* d_targets, float* d_searches) {
  const std::int64_t cells = columns.cells, features = columns.channels * cells;
  const std::int64_t side_count = columns.batch * features;
  for (std::int64_t i = first_piece(); i < 2 * side_count; i += next_piece()) {
    const bool of_target = i < side_count;
    const std::int64_t at = of_target ? i : i - side_count;
    const std::int64_t example = at / features, feature = at % features, cell = feature % cells;
    const float* other = columns.of(of_target ? 1 : 0, example) + (feature - cell);
    const float* map = dy + example * cells * cells + (of_target ? cell * cells : cell);
    const std::int64_t step = of_target ? 1 : cells;
    float sum = 0.0F;
    for (std::int64_t k = 0; k < cells; ++k) sum = fmaf(other[k], map[k * step], sum);
    (of_target ? d_targets : d_searches)[at] = scale * sum;
  }
}

// And of the features, in their place.
__global__ void gradients_of_features(Columns columns, float* d_targets, float* d_searches) {
  const std::int64_t lane = threadIdx.x % kLanes;
  const std::int64_t cells = columns.cells, channels = columns.channels;
  const std::int64_t count = 2 * columns.batch * cells;
  for (std::int64_t i = first_piece() / kLanes; i < count; i += next_piece() / kLanes) {
    const Cell at(columns, i);
    const float* unit = columns.of(at.side, at.example) + at.cell;
    float* gradient =
        (at.side == 0 ? d_targets : d_searches) + at.example * channels * cells + at.cell;
    const float size = unit[channels * cells];
    float along = 0.0F;
    for (std::int64_t c = lane; c < channels; c += kLanes) {
      along = fmaf(unit[c * cells], gradient[c * cells], along);
    }
    along = sum_of_lanes(along);
    double sum = 0.0;
    for (std::int64_t c = lane; c < channels; c += kLanes) {
      const float value = (gradient[c * cells] - unit[c * cells] * along) / size;
      gradient[c * cells] = value;
      sum += static_cast<double>(value);
    }
    const auto mean = static_cast<float>(sum_of_lanes(sum) / static_cast<double>(channels));
    for (std::int64_t c = lane; c < channels; c += kLanes) gradient[c * cells] -= mean;
  }
}

// A launch of `threads` threads.
Launch of_threads(std::int64_t threads) {
  Launch how;
  how.grid = dim3(blocks_for(threads, kThreads));
  how.block = dim3(kThreads);
  return how;
}

}  // namespace

void match(const MatchShape& shape, const MatchInput& targets, const MatchInput& searches, float* y,
           std::int64_t y_stride, float* columns, Stream stream) {
  if (shape.batch == 0) return;
  const Columns all{shape.batch, shape.channels, shape.cells, columns};
  launch("match", standardise, of_threads(2 * shape.batch * shape.cells * kLanes), stream, all,
         targets, searches);
  launch("match", products, of_threads(shape.batch * shape.cells * shape.cells), stream, all,
         shape.scale, y, y_stride);
}

void match_backward(const MatchShape& shape, const float* dy, const MatchInput& targets,
                    const MatchInput& searches, float* d_targets, float* d_searches, float* columns,
                    Stream stream) {
  if (shape.batch == 0) return;
  const Columns all{shape.batch, shape.channels, shape.cells, columns};
  const Launch of_cells = of_threads(2 * shape.batch * shape.cells * kLanes);
  const Launch of_values = of_threads(2 * shape.batch * shape.channels * shape.cells);
  launch("match_backward", standardise, of_cells, stream, all, targets, searches);
  launch("match_backward", gradients_of_columns, of_values, stream, all, shape.scale, dy, d_targets,
         d_searches);
  launch("match_backward", gradients_of_features, of_cells, stream, all, d_targets, d_searches);
}

}  // namespace goturn::cuda
