// The kernel of conv2d and conv2d_backward_data: an implicit product of matrices (gemm.cuh).
//
// M = output pixels, N = output channels of a group, k = (r, s, c) in the order of the weights'
// memory.  A is gathered from x as it is copied to shared memory: a 16-byte chunk lies within one
// pixel (channels of a group are whole chunks), and is zero where the pixel is outside.
//
// Blocks: x counts tiles, those of N first, so that neighbours share their pixels in L2; y parts of
// k; z groups.
#pragma once

#include <algorithm>

#include "cuda/conv_gemm.h"
#include "cuda/conv_tiles.cuh"
#include "cuda/divisor.h"

namespace goturn::cuda {

template <class T>
struct GatherArguments {
  const T* x;
  const T* weight;
  const float* bias;  // null for none
  T* y;
  Split split;
  int pixels, image_pixels;  // of y; the latter of one image
  Divisor by_image, by_width;
  int height, width;  // of x
  int channels;       // of all groups
  Divisor by_group_channels, by_kernel_width;
  int depth;    // k: kernel_height * kernel_width * group_channels
  int outputs;  // of a group
  int tiles_n;
  int step, pad_height, pad_width;
  Divisor by_divide;
  bool relu;
};

// Copies slices of the gathered pixels: chunk `thread` % 8 of rows `thread` / 8 and on.  kDivided
// is for GatherShape::divide > 1.
template <class T, class Tile, bool kDivided>
class PixelLoader {
  static constexpr int kRows = Tile::kThreads / 8;  // at once
  static constexpr int kPasses = Tile::kM / kRows;
  static_assert(Tile::kM % kRows == 0 && kRows % 8 == 0);

 public:
  __device__ __forceinline__ PixelLoader(const GatherArguments<T>& of, int tile_m)
      : of_(of),
        row_(static_cast<int>(threadIdx.x) / 8),
        chunk_(static_cast<int>(threadIdx.x) % 8) {
    group_ = of.x + static_cast<std::int64_t>(blockIdx.z) * of.by_group_channels.divisor();
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int pixel = tile_m * Tile::kM + row_ + i * kRows;
      const int image = of.by_image.quotient(pixel);
      const int within = pixel - image * of.image_pixels;
      const int p = of.by_width.quotient(within);
      const int q = within - p * of.by_width.divisor();
      const bool inside = pixel < of.pixels;
      top_[i] = inside ? p * of.step - of.pad_height : kNowhere;
      left_[i] = q * of.step - of.pad_width;
      at_[i] = inside ? image * of.height * of.width : 0;
      if (!kDivided && inside) at_[i] += top_[i] * of.width + left_[i];
    }
  }

  __device__ __forceinline__ void operator()(const Shared<T>& to, int slice) const {
    const int k = slice * kDepth<T> + chunk_ * kChunk<T>;
    const int tap = of_.by_group_channels.quotient(k);
    const int c = k - tap * of_.by_group_channels.divisor();
    const int r = of_.by_kernel_width.quotient(tap);
    const int s = tap - r * of_.by_kernel_width.divisor();
    const T* channel = group_ + c;
    const bool in_depth = k < of_.depth;
    const int tap_at = r * of_.width + s;
    const int index = row_ * kDepth<T> + (chunk_ ^ row_key(row_)) * kChunk<T>;
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      int h = top_[i] + r;
      int w = left_[i] + s;
      bool valid = in_depth;
      if constexpr (kDivided) valid = valid && divide(h) && divide(w);
      valid = valid && static_cast<unsigned>(h) < static_cast<unsigned>(of_.height) &&
              static_cast<unsigned>(w) < static_cast<unsigned>(of_.width);
      const T* from = of_.x;
      if (valid) {
        const int pixel = kDivided ? at_[i] + h * of_.width + w : at_[i] + tap_at;
        from = channel + static_cast<std::int64_t>(pixel) * of_.channels;
      }
      copy_async<16>(to, index + i * kRows * kDepth<T>, from, valid);
    }
  }

 private:
  static constexpr int kNowhere = -(1 << 30);

  // position / divide, false where that is not whole.
  __device__ __forceinline__ bool divide(int& position) const {
    if (position < 0) return false;
    const int quotient = of_.by_divide.quotient(position);
    const bool whole = quotient * of_.by_divide.divisor() == position;
    position = quotient;
    return whole;
  }

  const GatherArguments<T>& of_;
  const T* group_;  // of x
  int row_;
  int chunk_;
  int at_[kPasses];   // pixels of x before the window, or, kDivided, before the image
  int top_[kPasses];  // of the window
  int left_[kPasses];
};

// Copies slices of the weights of a group: rows of `depth` values.
template <class T, class Tile, class Engine>
class WeightLoader {
  static constexpr int kRows = Tile::kThreads / 8;
  static constexpr int kPasses = Tile::kN / kRows;
  static_assert(Tile::kN % kRows == 0);

 public:
  __device__ __forceinline__ WeightLoader(const GatherArguments<T>& arguments, int tile_n)
      : weight_(arguments.weight),
        depth_(arguments.depth),
        row_(static_cast<int>(threadIdx.x) / 8),
        chunk_(static_cast<int>(threadIdx.x) % 8) {
    const int row = tile_n * Tile::kN + row_;
    rows_left_ = arguments.outputs - row;
    first_ = (static_cast<std::int64_t>(blockIdx.z) * arguments.outputs + row) * depth_;
  }

  __device__ __forceinline__ void operator()(const Shared<T>& to, int slice) const {
    const int k = slice * kDepth<T> + chunk_ * kChunk<T>;
    const T* from = weight_ + first_ + k;
#pragma unroll
    for (int i = 0; i < kPasses; ++i) {
      const int row = row_ + i * kRows;
      const bool valid = k < depth_ && i * kRows < rows_left_;
      copy_async<16>(to, row * kDepth<T> + (chunk_ ^ Engine::row_key_b(row)) * kChunk<T>,
                     valid ? from + static_cast<std::int64_t>(i * kRows) * depth_ : weight_, valid);
    }
  }

 private:
  const T* weight_;
  int depth_;
  int row_;
  int chunk_;
  int rows_left_;
  std::int64_t first_;
};

// Bias, ReLU, and four neighbouring channels to memory at once where they are aligned.
template <class T, class Tile, class Engine>
__device__ __forceinline__ void store_channels(const GatherArguments<T>& of, int tile_m, int tile_n,
                                               const Engine& engine) {
  static_assert(Engine::kRun == 4);
  const bool whole = of.outputs % 4 == 0;
  const int channel = static_cast<int>(blockIdx.z) * of.outputs;
  const std::int64_t row_stride = static_cast<std::int64_t>(gridDim.z) * of.outputs;
  engine.visit(
      [&](int column) {
        Pack<float, 4> bias{};
        const int n = tile_n * Tile::kN + column;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (of.bias != nullptr && n + i < of.outputs) bias.values[i] = of.bias[channel + n + i];
        }
        return bias;
      },
      [&](const Pack<float, 4>& bias, int row, int column, const float (&values)[4]) {
        const int m = tile_m * Tile::kM + row;
        const int n = tile_n * Tile::kN + column;
        if (m >= of.pixels || n >= of.outputs) return;
        T* to = of.y + m * row_stride + channel + n;
        Pack<T, 4> results;
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const float value = values[i] + bias.values[i];
          results.values[i] = from_float<T>(of.relu && value < 0.0F ? 0.0F : value);
        }
        if (whole) {
          *reinterpret_cast<Pack<T, 4>*>(to) = results;
          return;
        }
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (n + i < of.outputs) to[i] = results.values[i];
        }
      });
}

template <class T, Products kProducts, class Tile, bool kDivided>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    gather_kernel(const __grid_constant__ GatherArguments<T> arguments) {
  if constexpr (kProducts != Products::scalar && !kTensorCores) {
    __trap();
  } else {
    using Rows = Engine<T, kProducts, Tile, Order::rows>;
    const int tile = static_cast<int>(blockIdx.x);
    const int tile_m = tile / arguments.tiles_n;
    const int tile_n = tile - tile_m * arguments.tiles_n;
    const int slices = (arguments.depth + kDepth<T> - 1) / kDepth<T>;
    const Part part(slices, static_cast<int>(blockIdx.y), static_cast<int>(gridDim.y));
    const PixelLoader<T, Tile, kDivided> load_a(arguments, tile_m);
    const WeightLoader<T, Tile, Rows> load_b(arguments, tile_n);
    Rows engine;
    wait_for_previous_kernel();
    // After the wait, so that whatever a kernel writes is there for the next but one.
    let_next_kernel_start();
    multiply_slices<Tile, T>(load_a, load_b, part.first, part.count, engine);
    const int number = static_cast<int>(blockIdx.z * gridDim.x + blockIdx.x);
    if (!sum_parts(arguments.split, number, static_cast<int>(blockIdx.y), engine)) return;
    store_channels<T, Tile>(arguments, tile_m, tile_n, engine);
  }
}

struct GatherCall {
  const GatherShape& shape;
  const TilePlan& plan;
  const void* x;
  const void* weight;
  const float* bias;
  bool relu;
  void* y;
  void* partials;
  int* counters;
  Stream stream;
};

template <class T, Products kProducts, class Tile, bool kDivided = false>
void launch_gather(const GatherCall& call) {
  const GatherShape& shape = call.shape;
  const auto divisor = [](std::int64_t value) {
    return Divisor(static_cast<std::uint32_t>(std::max<std::int64_t>(1, value)));
  };
  const std::int64_t image = shape.out_height * shape.out_width;
  const std::int64_t depth = shape.kernel_height * shape.kernel_width * shape.group_channels;
  narrow(shape.batch * shape.height * shape.width, "input pixels");
  GatherArguments<T> arguments{
      static_cast<const T*>(call.x),
      static_cast<const T*>(call.weight),
      call.bias,
      static_cast<T*>(call.y),
      {call.plan.slices, static_cast<float*>(call.partials), call.counters},
      narrow(shape.batch * image, "output pixels"),
      static_cast<int>(image),
      divisor(image),
      divisor(shape.out_width),
      narrow(shape.height, "rows"),
      narrow(shape.width, "columns"),
      narrow(shape.groups * shape.group_channels, "channels"),
      divisor(shape.group_channels),
      divisor(narrow(shape.kernel_width, "columns of the kernel")),
      narrow(depth, "weights of an output"),
      narrow(shape.group_outputs, "outputs"),
      narrow(call.plan.tiles_n, "tiles"),
      static_cast<int>(shape.step),
      static_cast<int>(shape.pad_height),
      static_cast<int>(shape.pad_width),
      divisor(shape.divide),
      call.relu};
  const int tiles = narrow(call.plan.tiles_m * call.plan.tiles_n, "tiles");
  const Launch how{dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(call.plan.slices),
                        static_cast<unsigned>(shape.groups)),
                   dim3(Tile::kThreads), Tile::kSharedBytes, true};
  launch("conv2d", gather_kernel<T, kProducts, Tile, kDivided>, how, call.stream, arguments);
}

template <class T, Products kProducts>
void launch_gather(const GatherCall& call) {
  using Tiles = ConvTiles<kProducts>;
  switch (call.plan.size) {
    case TileSize::large:
      return launch_gather<T, kProducts, typename Tiles::Large>(call);
    case TileSize::large_96:
      return launch_gather<T, kProducts, typename Tiles::Large96>(call);
    case TileSize::small:
      return launch_gather<T, kProducts, typename Tiles::Small>(call);
  }
}

// Each in a file of its own, so that they compile side by side.
void gather_scalar(Type type, const GatherCall& call);
void gather_tf32(const GatherCall& call);
void gather_tf32x3(const GatherCall& call);
void gather_half(Type type, const GatherCall& call);

}  // namespace goturn::cuda
