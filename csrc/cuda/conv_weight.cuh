// The kernel of conv2d_backward_weight: an implicit product of matrices (gemm.cuh).
//
// M = outputs of a group, N = (r, s, c) as the weights lie in memory, k = output pixels.  A is dy,
// B is gathered from x; of both a pixel's channels are contiguous: Order::columns.  A thread copies
// the same channels of a chunk all along, and its pixels change.
//
// Few tiles and tens of thousands of pixels: k is split until the blocks fill a GPU.
//
// Blocks: x counts tiles, those of N first; y parts of k; z groups.
#pragma once

#include <algorithm>

#include "cuda/conv_gemm.h"
#include "cuda/conv_tiles.cuh"
#include "cuda/divisor.h"

namespace goturn::cuda {

template <class T>
struct WeightArguments {
  const T* dy;
  const T* x;
  float* dweight;
  Split split;
  int pixels, image_pixels;  // of dy; the latter of one image
  Divisor by_image, by_width;
  int height, width;          // of x
  int channels;               // of x, of all groups, whole chunks
  Divisor by_whole_channels;  // whole chunks of a group
  int group_channels;         // of the weights
  Divisor by_kernel_width;
  int columns;                       // N: kernel_height * kernel_width * whole channels
  int taps;                          // kernel_height * kernel_width
  int whole_outputs, group_outputs;  // of dy (whole chunks), of the weights
  int tiles_n;
  int step, pad;
};

// Where a thread copies to in a slice of kRows_ rows (Order::columns), and which pixels.
template <class T, class Tile, int kRows_>
struct ColumnSlots {
  static constexpr int kChunks = kRows_ / kChunk<T>;       // of a line
  static constexpr int kLines = Tile::kThreads / kChunks;  // at once
  static constexpr int kPasses = kDepth<T> / kLines;
  static_assert(Tile::kThreads % kChunks == 0 && kDepth<T> % kLines == 0);

  int chunk = static_cast<int>(threadIdx.x) % kChunks;
  int line = static_cast<int>(threadIdx.x) / kChunks;

  __device__ __forceinline__ int index(int pass) const {
    const int k = line + pass * kLines;
    return k * kRows_ + (chunk ^ column_key<T>(k)) * kChunk<T>;
  }
};

template <class T, class Tile>
class GradientLoader {
  using Slots = ColumnSlots<T, Tile, Tile::kM>;

 public:
  __device__ __forceinline__ GradientLoader(const WeightArguments<T>& of, int tile_m)
      : dy_(of.dy), pixels_(of.pixels) {
    const int m = tile_m * Tile::kM + slots_.chunk * kChunk<T>;
    inside_ = m < of.whole_outputs;
    stride_ = static_cast<std::int64_t>(gridDim.z) * of.whole_outputs;
    first_ = static_cast<std::int64_t>(blockIdx.z) * of.whole_outputs + m;
  }

  __device__ __forceinline__ void operator()(const Shared<T>& to, int slice) const {
#pragma unroll
    for (int i = 0; i < Slots::kPasses; ++i) {
      const int pixel = slice * kDepth<T> + slots_.line + i * Slots::kLines;
      const bool valid = inside_ && pixel < pixels_;
      copy_async<16>(to, slots_.index(i), valid ? dy_ + pixel * stride_ + first_ : dy_, valid);
    }
  }

 private:
  const T* dy_;
  int pixels_;
  Slots slots_;
  bool inside_;
  std::int64_t stride_;
  std::int64_t first_;
};

template <class T, class Tile>
class InputLoader {
  using Slots = ColumnSlots<T, Tile, Tile::kN>;

 public:
  __device__ __forceinline__ InputLoader(const WeightArguments<T>& of, int tile_n) : of_(of) {
    const int n = tile_n * Tile::kN + slots_.chunk * kChunk<T>;
    const int tap = of.by_whole_channels.quotient(n);
    const int whole = of.by_whole_channels.divisor();
    const int r = of.by_kernel_width.quotient(tap);
    top_ = r - of.pad;
    left_ = tap - r * of.by_kernel_width.divisor() - of.pad;
    inside_ = n < of.columns;
    channel_ = of.x + static_cast<std::int64_t>(blockIdx.z) * whole + (n - tap * whole);
  }

  __device__ __forceinline__ void operator()(const Shared<T>& to, int slice) const {
#pragma unroll
    for (int i = 0; i < Slots::kPasses; ++i) {
      const int pixel = slice * kDepth<T> + slots_.line + i * Slots::kLines;
      const int image = of_.by_image.quotient(pixel);
      const int within = pixel - image * of_.image_pixels;
      const int p = of_.by_width.quotient(within);
      const int q = within - p * of_.by_width.divisor();
      const std::int64_t h = p * of_.step + top_;
      const std::int64_t w = q * of_.step + left_;
      const bool valid =
          inside_ && pixel < of_.pixels && h >= 0 && h < of_.height && w >= 0 && w < of_.width;
      const T* from = of_.x;
      if (valid) {
        const int at = (image * of_.height + static_cast<int>(h)) * of_.width + static_cast<int>(w);
        from = channel_ + static_cast<std::int64_t>(at) * of_.channels;
      }
      copy_async<16>(to, slots_.index(i), from, valid);
    }
  }

 private:
  const WeightArguments<T>& of_;
  Slots slots_;
  int top_;  // of the tap, from the pixel's window
  int left_;
  bool inside_;
  const T* channel_;
};

template <class T, class Tile, class Engine>
__device__ __forceinline__ void store_weights(const WeightArguments<T>& of, int tile_m, int tile_n,
                                              const Engine& engine) {
  constexpr int kRun = Engine::kRun;
  const bool padded = of.by_whole_channels.divisor() != of.group_channels;
  const std::int64_t of_output = static_cast<std::int64_t>(of.taps) * of.group_channels;
  engine.visit([](int) { return 0; },
               [&](int, int row, int column, const float (&values)[kRun]) {
                 const int m = tile_m * Tile::kM + row;
                 const int n = tile_n * Tile::kN + column;
                 if (m >= of.group_outputs || n >= of.columns) return;
                 const std::int64_t output =
                     static_cast<std::int64_t>(blockIdx.z) * of.group_outputs + m;
                 float* to = of.dweight + output * of_output;
                 if (!padded) {
                   Pack<float, kRun> pack;
#pragma unroll
                   for (int i = 0; i < kRun; ++i) pack.values[i] = values[i];
                   *reinterpret_cast<Pack<float, kRun>*>(to + n) = pack;
                   return;
                 }
#pragma unroll
                 for (int i = 0; i < kRun; ++i) {
                   const int tap = of.by_whole_channels.quotient(n + i);
                   const int c = n + i - tap * of.by_whole_channels.divisor();
                   if (c < of.group_channels) to[tap * of.group_channels + c] = values[i];
                 }
               });
}

template <class T, Products kProducts, class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    weight_kernel(const __grid_constant__ WeightArguments<T> arguments) {
  if constexpr (kProducts != Products::scalar && !kTensorCores) {
    __trap();
  } else {
    const int tile = static_cast<int>(blockIdx.x);
    const int tile_m = tile / arguments.tiles_n;
    const int tile_n = tile - tile_m * arguments.tiles_n;
    const int slices = (arguments.pixels + kDepth<T> - 1) / kDepth<T>;
    const Part part(slices, static_cast<int>(blockIdx.y), static_cast<int>(gridDim.y));
    const GradientLoader<T, Tile> load_a(arguments, tile_m);
    const InputLoader<T, Tile> load_b(arguments, tile_n);
    Engine<T, kProducts, Tile, Order::columns> engine;
    wait_for_previous_kernel();
    let_next_kernel_start();
    multiply_slices<Tile, T>(load_a, load_b, part.first, part.count, engine);
    const int number = static_cast<int>(blockIdx.z * gridDim.x + blockIdx.x);
    if (!sum_parts(arguments.split, number, static_cast<int>(blockIdx.y), engine)) return;
    store_weights<T, Tile>(arguments, tile_m, tile_n, engine);
  }
}

struct WeightCall {
  const ConvShape& shape;
  std::int64_t whole_channels, whole_outputs;  // of a group
  const TilePlan& plan;
  const void* dy;
  const void* x;
  float* dweight;
  void* partials;
  int* counters;
  Stream stream;
};

template <class T, Products kProducts, class Tile>
void launch_weight(const WeightCall& call) {
  const ConvShape& shape = call.shape;
  const auto divisor = [](std::int64_t value) {
    return Divisor(static_cast<std::uint32_t>(std::max<std::int64_t>(1, value)));
  };
  const std::int64_t image = shape.out_height() * shape.out_width();
  const std::int64_t taps = shape.kernel_height * shape.kernel_width;
  narrow(shape.batch * shape.height * shape.width, "input pixels");
  const WeightArguments<T> arguments{
      static_cast<const T*>(call.dy),
      static_cast<const T*>(call.x),
      call.dweight,
      {call.plan.slices, static_cast<float*>(call.partials), call.counters},
      narrow(shape.batch * image, "output pixels"),
      narrow(image, "output pixels"),
      divisor(image),
      divisor(shape.out_width()),
      narrow(shape.height, "rows"),
      narrow(shape.width, "columns"),
      narrow(shape.groups * call.whole_channels, "channels"),
      divisor(call.whole_channels),
      static_cast<int>(shape.channels / shape.groups),
      divisor(narrow(shape.kernel_width, "columns of the kernel")),
      narrow(taps * call.whole_channels, "weights of an output"),
      narrow(taps, "weights of a channel"),
      narrow(call.whole_outputs, "outputs"),
      static_cast<int>(shape.outputs / shape.groups),
      narrow(call.plan.tiles_n, "tiles"),
      static_cast<int>(bounded_stride(shape)),
      static_cast<int>(shape.pad)};
  const int tiles = narrow(call.plan.tiles_m * call.plan.tiles_n, "tiles");
  const Launch how{dim3(static_cast<unsigned>(tiles), static_cast<unsigned>(call.plan.slices),
                        static_cast<unsigned>(shape.groups)),
                   dim3(Tile::kThreads), Tile::kSharedBytes, true};
  launch("conv2d_backward_weight", weight_kernel<T, kProducts, Tile>, how, call.stream, arguments);
}

template <class T, Products kProducts>
void launch_weight(const WeightCall& call) {
  using Tiles = ConvTiles<kProducts>;
  if (call.plan.size == TileSize::large) {
    launch_weight<T, kProducts, typename Tiles::Large>(call);
  } else {
    launch_weight<T, kProducts, typename Tiles::Small>(call);
  }
}

// Each in a file of its own, so that they compile side by side.
void weight_scalar(Type type, const WeightCall& call);
void weight_tf32(const WeightCall& call);
void weight_tf32x3(const WeightCall& call);
void weight_half(Type type, const WeightCall& call);

}  // namespace goturn::cuda
