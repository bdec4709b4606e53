// Gradient of a convolution's input: the convolution of dy, spread out by the stride, with the
// weights flipped, their inputs and outputs exchanged (conv_gather.cuh with divide = stride).
//
// The weights are laid out anew for that, (C / groups, R, S, K / groups) of each group, in the
// workspace: a few MB, against GFLOPs.  With a stride, most gathered values are the zeros between
// dy's, and products are scalar; only the first convolution has one, and nothing asks for the
// gradient of its input.
//
// Floors on an H200: those of conv2d.cu for the same products.
#include <algorithm>

#include "cuda/conv_gemm.h"
#include "cuda/numbers.h"

namespace goturn::cuda {

namespace {

constexpr int kSide = 32;
constexpr int kRows = 8;
constexpr int kPitch = kSide + 1;

struct FlipArguments {
  std::int64_t groups, outputs, taps, channels;  // of a group
  std::int64_t padded_outputs;
};

// weight (groups, outputs, taps, channels) to (groups, channels, taps backwards, padded_outputs),
// zeros from `outputs` on.  Blocks: x tiles of channels, y tiles of outputs, z taps and groups.
template <class T>
__global__ void __launch_bounds__(kSide* kRows)
    flip_kernel(const FlipArguments of, const T* weight, T* flipped) {
  GOTURN_SHARED(T, tile, kSide * kPitch);
  wait_for_previous_kernel();
  let_next_kernel_start();
  const int x = static_cast<int>(threadIdx.x);
  const int y = static_cast<int>(threadIdx.y);
  const std::int64_t first_channel = static_cast<std::int64_t>(blockIdx.x) * kSide;
  for (std::int64_t z = blockIdx.z; z < of.taps * of.groups; z += gridDim.z) {
    const std::int64_t group = z / of.taps;
    const std::int64_t tap = z - group * of.taps;
    for (std::int64_t first_output = static_cast<std::int64_t>(blockIdx.y) * kSide;
         first_output < of.padded_outputs;
         first_output += static_cast<std::int64_t>(gridDim.y) * kSide) {
#pragma unroll
      for (int i = 0; i < kSide; i += kRows) {
        const std::int64_t output = first_output + y + i;
        const std::int64_t channel = first_channel + x;
        T value{};
        if (output < of.outputs && channel < of.channels) {
          value = weight[((group * of.outputs + output) * of.taps + tap) * of.channels + channel];
        }
        tile[(y + i) * kPitch + x] = value;
      }
      __syncthreads();
#pragma unroll
      for (int i = 0; i < kSide; i += kRows) {
        const std::int64_t output = first_output + x;
        const std::int64_t channel = first_channel + y + i;
        const T value = tile[x * kPitch + y + i];
        if (output < of.padded_outputs && channel < of.channels) {
          const std::int64_t row = (group * of.channels + channel) * of.taps + of.taps - 1 - tap;
          flipped[row * of.padded_outputs + output] = value;
        }
      }
      __syncthreads();
    }
  }
}

void flip(const FlipArguments& of, Type type, const void* weight, void* flipped, Stream stream) {
  constexpr std::int64_t kMost = 65535;
  const auto tiles = [](std::int64_t size) { return (size + kSide - 1) / kSide; };
  if (of.groups * of.channels * of.padded_outputs == 0) return;
  const dim3 grid(static_cast<unsigned>(tiles(of.channels)),
                  static_cast<unsigned>(std::min(tiles(of.padded_outputs), kMost)),
                  static_cast<unsigned>(std::min(of.taps * of.groups, kMost)));
  dispatch(type, [&](auto zero) {
    using T = decltype(zero);
    launch("flip_weights", flip_kernel<T>, {grid, dim3(kSide, kRows), 0, true}, stream, of,
           static_cast<const T*>(weight), static_cast<T*>(flipped));
  });
}

struct Plan {
  GatherShape shape;
  Products products;
  FlipArguments flip;
  std::size_t weight_bytes;
  std::size_t dy_bytes;  // 0 where dy needs no padding
  std::size_t partial_bytes;
};

Plan make_plan(const ConvShape& of, Type type, Products products) {
  check_products(type, products);
  check_size(of);
  Plan plan{};
  const std::int64_t outputs = of.outputs / of.groups;
  const std::int64_t channels = of.channels / of.groups;
  const std::int64_t taps = of.kernel_height * of.kernel_width;
  const std::int64_t whole = whole_chunks(outputs, type);
  plan.products = of.stride > 1 ? Products::scalar : choose_products(products, outputs * taps);
  plan.shape = {of.batch,
                of.groups,
                of.out_height(),
                of.out_width(),
                whole,
                of.height,
                of.width,
                channels,
                of.kernel_height,
                of.kernel_width,
                1,
                bounded_stride(of),
                of.kernel_height - 1 - of.pad,
                of.kernel_width - 1 - of.pad};
  plan.flip = {of.groups, outputs, taps, channels, whole};
  const auto bytes = static_cast<std::size_t>(whole) * size_of(type);
  plan.weight_bytes = aligned(bytes * static_cast<std::size_t>(of.channels * taps));
  if (whole != outputs) {
    plan.dy_bytes = aligned(
        bytes * static_cast<std::size_t>(of.batch * of.out_height() * of.out_width() * of.groups));
  }
  plan.partial_bytes = plan_gather(plan.shape, type, plan.products).partial_bytes;
  return plan;
}

}  // namespace

std::size_t conv2d_backward_data_workspace(const ConvShape& shape, Type type, Products products) {
  const Plan plan = make_plan(shape, type, products);
  return plan.weight_bytes + plan.dy_bytes + plan.partial_bytes;
}

void conv2d_backward_data(const ConvShape& shape, Type type, Products products, const void* dy,
                          const void* weight, void* dx, void* workspace, int* counters,
                          Stream stream) {
  const Plan plan = make_plan(shape, type, products);
  check_aligned(dy, "dy");
  check_aligned(weight, "weight");
  check_aligned(dx, "dx");
  if (shape.batch == 0 || shape.channels == 0 || shape.height == 0 || shape.width == 0) return;
  auto* flipped = static_cast<unsigned char*>(workspace);
  unsigned char* padded = flipped + plan.weight_bytes;
  unsigned char* partials = padded + plan.dy_bytes;
  flip(plan.flip, type, weight, flipped, stream);
  if (plan.dy_bytes != 0) {
    pad_rows(shape.batch * shape.out_height() * shape.out_width() * shape.groups, plan.flip.outputs,
             plan.flip.padded_outputs, type, dy, padded, stream);
    dy = padded;
  }
  gather_gemm(plan.shape, type, plan.products, dy, flipped, nullptr, false, dx, partials, counters,
              stream);
}

}  // namespace goturn::cuda
