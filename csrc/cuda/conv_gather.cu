// How conv_gather.cuh's kernel is cut into tiles, and which one runs; rows padded to whole chunks.
#include "cuda/conv_gather.cuh"
#include "cuda/grid.h"

namespace goturn::cuda {

namespace {

// Blocks from which on large tiles pay.
constexpr std::int64_t kLargeFrom = 176;
// A part of k must be worth its partial sums.
constexpr std::int64_t kLeastSlices = 4;

template <class T>
__global__ void pad_rows_kernel(std::int64_t count, std::int64_t columns, std::int64_t padded,
                                const T* x, T* y) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    const std::int64_t row = i / padded;
    const std::int64_t column = i - row * padded;
    y[i] = column < columns ? x[row * columns + column] : T{};
  }
}

}  // namespace

TilePlan plan_gather(const GatherShape& shape, Type type, Products products) {
  const std::int64_t pixels = shape.batch * shape.out_height * shape.out_width;
  const std::int64_t outputs = shape.group_outputs;
  const auto padded = [&](std::int64_t size) { return divide_up(outputs, size) * size; };
  TilePlan plan{};
  const std::int64_t columns = padded(96) < padded(128) ? 96 : 128;
  plan.size = columns == 96 ? TileSize::large_96 : TileSize::large;
  plan.tiles_m = divide_up(pixels, 128);
  plan.tiles_n = divide_up(outputs, columns);
  plan.slices = 1;
  const bool small_alone = products == Products::scalar && (type != Type::f32 || shape.divide > 1);
  if (!small_alone && plan.tiles_m * plan.tiles_n * shape.groups >= kLargeFrom &&
      padded(columns) < 2 * padded(64)) {
    return plan;
  }
  plan.size = TileSize::small;
  plan.tiles_m = divide_up(pixels, 64);
  plan.tiles_n = divide_up(outputs, 64);
  const std::int64_t tiles = plan.tiles_m * plan.tiles_n * shape.groups;
  const std::int64_t depth = shape.kernel_height * shape.kernel_width * shape.group_channels;
  const std::int64_t slices = divide_up(depth * static_cast<std::int64_t>(size_of(type)), 128);
  if (tiles > 0 && tiles <= kCounters) {
    plan.slices = static_cast<int>(
        std::max<std::int64_t>(1, std::min(kFullGrid / tiles, slices / kLeastSlices)));
  }
  using Small = ConvTiles<Products::scalar>::Small;
  plan.partial_bytes = Split::partial_bytes<Small>(tiles, plan.slices);
  return plan;
}

void gather_gemm(const GatherShape& shape, Type type, Products products, const void* x,
                 const void* weight, const float* bias, bool relu, void* y, void* partials,
                 int* counters, Stream stream) {
  const TilePlan plan = plan_gather(shape, type, products);
  if (plan.tiles_m == 0 || plan.tiles_n == 0) return;
  const GatherCall call{shape, plan, x, weight, bias, relu, y, partials, counters, stream};
  switch (products) {
    case Products::scalar:
      return gather_scalar(type, call);
    case Products::tf32:
      return gather_tf32(call);
    case Products::tf32x3:
      return gather_tf32x3(call);
    case Products::half:
      return gather_half(type, call);
  }
}

void pad_rows(std::int64_t rows, std::int64_t columns, std::int64_t padded, Type type,
              const void* x, void* y, Stream stream) {
  const std::int64_t count = rows * padded;
  if (count == 0) return;
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(divide_up(count, 256), 4096));
  dispatch(type, [&](auto zero) {
    using T = decltype(zero);
    launch("pad_rows", pad_rows_kernel<T>, {dim3(blocks), dim3(256), 0, true}, stream, count,
           columns, padded, static_cast<const T*>(x), static_cast<T*>(y));
  });
}

}  // namespace goturn::cuda
