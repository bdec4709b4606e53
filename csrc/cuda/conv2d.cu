// Convolution with bias and ReLU: an implicit product of matrices (conv_gather.cuh).
//
// Floors on an H200 (one crop, TF32 thrice / TF32 / half products at 135 / 400 / 790 TFLOP/s; the
// weights once from memory and the activations in and out at 4.3 TB/s are far below them):
//   conv1 space to depth, 3025 x 96 x 432   0.251 GFLOP    1.9 / 0.63 / 0.32 us
//   conv2                 729 x 256 x 1200  0.448 GFLOP    3.3 / 1.1 / 0.57 us
//   conv3                 169 x 384 x 2304  0.299 GFLOP    2.2 / 0.75 / 0.38 us
//   conv4                 169 x 384 x 1728  0.224 GFLOP    1.7 / 0.56 / 0.28 us
//   conv5                 169 x 256 x 1728  0.150 GFLOP    1.1 / 0.37 / 0.19 us
// At batch 1 a launch and a few trips to memory take longer than that: there tiles are small and k
// is split.  mma.sync reaches at most 2/3 of those rates on Hopper.
//
// Channels that are no whole 16-byte chunks (conv1 on plain images, odd shapes) are padded in the
// workspace first, those of the weights too.
#include "cuda/conv_gemm.h"

namespace goturn::cuda {

namespace {

struct Plan {
  GatherShape shape;
  Products products;
  bool padded;
  std::size_t x_bytes;
  std::size_t weight_bytes;
  std::size_t partial_bytes;
};

Plan make_plan(const ConvShape& of, Type type, Products products) {
  check_products(type, products);
  check_size(of);
  Plan plan{};
  const std::int64_t channels = of.channels / of.groups;
  plan.products = choose_products(products, channels * of.kernel_height * of.kernel_width);
  const std::int64_t whole = whole_chunks(channels, type);
  plan.shape = {of.batch,
                of.groups,
                of.height,
                of.width,
                whole,
                of.out_height(),
                of.out_width(),
                of.outputs / of.groups,
                of.kernel_height,
                of.kernel_width,
                bounded_stride(of),
                1,
                of.pad,
                of.pad};
  plan.padded = whole != channels;
  if (plan.padded) {
    const std::size_t bytes = static_cast<std::size_t>(whole) * size_of(type);
    plan.x_bytes =
        aligned(bytes * static_cast<std::size_t>(of.batch * of.height * of.width * of.groups));
    plan.weight_bytes =
        aligned(bytes * static_cast<std::size_t>(of.outputs * of.kernel_height * of.kernel_width));
  }
  plan.partial_bytes = plan_gather(plan.shape, type, plan.products).partial_bytes;
  return plan;
}

}  // namespace

std::size_t conv2d_workspace(const ConvShape& shape, Type type, Products products) {
  const Plan plan = make_plan(shape, type, products);
  return plan.x_bytes + plan.weight_bytes + plan.partial_bytes;
}

void conv2d(const ConvShape& shape, Type type, Products products, const void* x, const void* weight,
            const float* bias, bool relu, void* y, void* workspace, int* counters, Stream stream) {
  const Plan plan = make_plan(shape, type, products);
  check_aligned(x, "x");
  check_aligned(weight, "weight");
  check_aligned(y, "y");
  if (shape.batch == 0 || shape.outputs == 0) return;
  auto* padded_x = static_cast<unsigned char*>(workspace);
  unsigned char* padded_weight = padded_x + plan.x_bytes;
  unsigned char* partials = padded_weight + plan.weight_bytes;
  if (plan.padded) {
    const std::int64_t channels = shape.channels / shape.groups;
    const std::int64_t whole = plan.shape.group_channels;
    pad_rows(shape.batch * shape.height * shape.width * shape.groups, channels, whole, type, x,
             padded_x, stream);
    pad_rows(shape.outputs * shape.kernel_height * shape.kernel_width, channels, whole, type,
             weight, padded_weight, stream);
    x = padded_x;
    weight = padded_weight;
  }
  gather_gemm(plan.shape, type, plan.products, x, weight, bias, relu, y, partials, counters,
              stream);
}

}  // namespace goturn::cuda
