// Gradients of a convolution's weights (conv_weight.cuh) and of its bias, both in float.
//
// Floors on an H200: the weights' is conv2d.cu's for the same products; the bias's, the column sums
// of dy, its bytes at 4.3 TB/s: 22 us for conv2 on 128 crops in float.
#include <algorithm>

#include "cuda/conv_weight.cuh"
#include "cuda/grid.h"

namespace goturn::cuda {

namespace {

constexpr std::int64_t kLargeFrom = 176;  // blocks, as conv_gather.cu
constexpr std::int64_t kLeastSlices = 4;

constexpr int kColumns = 32;  // of a block that sums columns
constexpr int kLines = 16;
constexpr std::int64_t kLeastRows = 256;

// Sums of the columns of x (rows, columns).  Blocks: x 32 columns each, y parts of the rows, whose
// sums go to partials (parts, columns) and are added in their order by the last block to finish.
template <class T>
__global__ void __launch_bounds__(kColumns* kLines)
    column_sums_kernel(std::int64_t rows, std::int64_t columns, const T* x, float* sums,
                       float* partials, int* counters) {
  GOTURN_SHARED(float, of_line, kColumns* kLines);
  GOTURN_SHARED(int, arrived_before, 1);
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int lane = static_cast<int>(threadIdx.x);
  const int line = static_cast<int>(threadIdx.y);
  const std::int64_t column = static_cast<std::int64_t>(blockIdx.x) * kColumns + lane;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.y) * kLines;
  float sum = 0.0F;
  if (column < columns) {
#pragma unroll 8
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * kLines + line; row < rows;
         row += step) {
      sum += to_float(x[row * columns + column]);
    }
  }
  of_line[line * kColumns + lane] = sum;
  __syncthreads();
  if (line == 0) {
    for (int i = 1; i < kLines; ++i) sum += of_line[i * kColumns + lane];
    float* to = gridDim.y == 1 ? sums : partials + blockIdx.y * columns;
    if (column < columns) to[column] = sum;
  }
  if (gridDim.y == 1) return;
  __threadfence();
  __syncthreads();
  if (line == 0 && lane == 0) arrived_before[0] = atomicAdd(counters + blockIdx.x, 1);
  __syncthreads();
  if (arrived_before[0] != static_cast<int>(gridDim.y) - 1) return;
  __threadfence();
  if (line == 0 && column < columns) {
    sum = 0.0F;
#pragma unroll 8
    for (unsigned part = 0; part < gridDim.y; ++part) sum += partials[part * columns + column];
    sums[column] = sum;
  }
  if (line == 0 && lane == 0) counters[blockIdx.x] = 0;
}

struct Plan {
  Products products;
  std::int64_t channels, outputs;              // of a group
  std::int64_t whole_channels, whole_outputs;  // whole chunks
  std::int64_t rows;                           // pixels of dy
  TilePlan tiles;
  std::int64_t bias_parts;
  std::size_t x_bytes;   // 0 where x needs no padding
  std::size_t dy_bytes;  // likewise
  std::size_t bias_bytes;
};

TilePlan plan_tiles(const Plan& plan, const ConvShape& of, Type type) {
  const std::int64_t columns = of.kernel_height * of.kernel_width * plan.whole_channels;
  const std::int64_t slices = divide_up(plan.rows * static_cast<std::int64_t>(size_of(type)), 128);
  const std::int64_t most_parts = std::max<std::int64_t>(1, slices / kLeastSlices);
  TilePlan tiles{};
  const auto cut = [&](TileSize size, std::int64_t side) {
    tiles.size = size;
    tiles.tiles_m = divide_up(plan.outputs, side);
    tiles.tiles_n = divide_up(columns, side);
    return tiles.tiles_m * tiles.tiles_n * of.groups;
  };
  const bool small_alone = plan.products == Products::scalar && type != Type::f32;
  std::int64_t count = cut(TileSize::large, 128);
  if (small_alone || plan.outputs <= 64 || columns <= 64 || count * most_parts < kLargeFrom) {
    count = cut(TileSize::small, 64);
  }
  tiles.slices = 1;
  if (count > 0 && count <= kCounters) {
    tiles.slices =
        static_cast<int>(std::max<std::int64_t>(1, std::min(kFullGrid / count, most_parts)));
  }
  const std::int64_t side = tiles.size == TileSize::large ? 128 : 64;
  if (tiles.slices > 1) {
    tiles.partial_bytes = sizeof(float) * static_cast<std::size_t>(side * side * count) *
                          static_cast<std::size_t>(tiles.slices);
  }
  return tiles;
}

Plan make_plan(const ConvShape& of, Type type, Products products) {
  check_products(type, products);
  check_size(of);
  Plan plan{};
  plan.rows = of.batch * of.out_height() * of.out_width();
  plan.products = choose_products(products, plan.rows);
  plan.channels = of.channels / of.groups;
  plan.outputs = of.outputs / of.groups;
  plan.whole_channels = whole_chunks(plan.channels, type);
  plan.whole_outputs = whole_chunks(plan.outputs, type);
  const auto bytes = [&](std::int64_t rows, std::int64_t columns) {
    return aligned(static_cast<std::size_t>(rows * columns) * size_of(type));
  };
  if (plan.whole_channels != plan.channels) {
    plan.x_bytes = bytes(of.batch * of.height * of.width * of.groups, plan.whole_channels);
  }
  if (plan.whole_outputs != plan.outputs) {
    plan.dy_bytes = bytes(plan.rows * of.groups, plan.whole_outputs);
  }
  plan.tiles = plan_tiles(plan, of, type);
  const std::int64_t column_tiles = divide_up(of.outputs, kColumns);
  plan.bias_parts = 1;
  if (column_tiles > 0 && column_tiles <= kCounters) {
    plan.bias_parts = std::max<std::int64_t>(
        1, std::min(2 * kFullGrid / column_tiles, divide_up(plan.rows, kLeastRows)));
  }
  if (plan.bias_parts > 1) {
    plan.bias_bytes =
        aligned(sizeof(float) * static_cast<std::size_t>(plan.bias_parts * of.outputs));
  }
  return plan;
}

void column_sums(const ConvShape& shape, const Plan& plan, Type type, const void* dy, float* dbias,
                 void* partials, int* counters, Stream stream) {
  const dim3 grid(static_cast<unsigned>(divide_up(shape.outputs, kColumns)),
                  static_cast<unsigned>(plan.bias_parts));
  dispatch(type, [&](auto zero) {
    using T = decltype(zero);
    launch("column_sums", column_sums_kernel<T>, {grid, dim3(kColumns, kLines), 0, true}, stream,
           plan.rows, shape.outputs, static_cast<const T*>(dy), dbias,
           static_cast<float*>(partials), counters);
  });
}

}  // namespace

std::size_t conv2d_backward_weight_workspace(const ConvShape& shape, Type type, Products products) {
  const Plan plan = make_plan(shape, type, products);
  return plan.x_bytes + plan.dy_bytes + plan.bias_bytes + plan.tiles.partial_bytes;
}

void conv2d_backward_weight(const ConvShape& shape, Type type, Products products, const void* dy,
                            const void* x, float* dweight, float* dbias, void* workspace,
                            int* counters, Stream stream) {
  const Plan plan = make_plan(shape, type, products);
  check_aligned(dy, "dy");
  check_aligned(x, "x");
  check_aligned(dweight, "dweight");
  if (shape.outputs == 0) return;
  auto* padded_x = static_cast<unsigned char*>(workspace);
  unsigned char* padded_dy = padded_x + plan.x_bytes;
  unsigned char* bias_partials = padded_dy + plan.dy_bytes;
  unsigned char* partials = bias_partials + plan.bias_bytes;
  column_sums(shape, plan, type, dy, dbias, bias_partials, counters, stream);
  if (plan.tiles.tiles_n == 0) return;  // no channels
  if (plan.x_bytes != 0) {
    pad_rows(shape.batch * shape.height * shape.width * shape.groups, plan.channels,
             plan.whole_channels, type, x, padded_x, stream);
    x = padded_x;
  }
  if (plan.dy_bytes != 0) {
    pad_rows(plan.rows * shape.groups, plan.outputs, plan.whole_outputs, type, dy, padded_dy,
             stream);
    dy = padded_dy;
  }
  const WeightCall call{shape,
                        plan.whole_channels,
                        plan.whole_outputs,
                        plan.tiles,
                        dy,
                        x,
                        dweight,
                        partials,
                        counters,
                        stream};
  switch (plan.products) {
    case Products::scalar:
      return weight_scalar(type, call);
    case Products::tf32:
      return weight_tf32(call);
    case Products::tf32x3:
      return weight_tf32x3(call);
    case Products::half:
      return weight_half(type, call);
  }
}

}  // namespace goturn::cuda
