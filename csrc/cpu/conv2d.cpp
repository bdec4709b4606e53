// Convolution of planes: a few images at a time go into (H, W, C) order, through the towers' tiles,
// and back.

#include "ops.h"

#include "cpu/conv2d_packed.h"
#include "cpu/threads.h"

namespace goturn::cpu {
namespace {

// Images that are converted together: their copies should stay in the cache.
constexpr std::int64_t kBatch = 4;

}  // namespace

void conv2d(const ConvShape& shape, const float* x, const float* weight, const float* bias,
            bool relu, float* y) {
  if (shape.batch == 0 || shape.outputs == 0) return;
  const Image in{shape.height, shape.width, shape.channels, shape.pad};
  const Image out{shape.out_height(), shape.out_width(), shape.outputs, 0};
  const std::int64_t area = shape.kernel_height * shape.kernel_width;
  const std::int64_t in_group = shape.channels / shape.groups;
  const FilterLayout filters{weight, shape.outputs / shape.groups * in_group * area,
                             in_group * area, area, 1};
  const PackedConv conv(in, out, shape.kernel_height, shape.kernel_width, shape.stride,
                        shape.groups, filters, bias);
  const std::int64_t batch = std::min(kBatch, shape.batch);
  const Floats input = zeros(values_of({batch, in.values()}));
  const Floats output = floats(values_of({batch, out.values()}));
  const std::int64_t in_values = shape.channels * shape.height * shape.width;
  for (std::int64_t start = 0; start < shape.batch; start += batch) {
    const std::int64_t images = std::min(batch, shape.batch - start);
    const float* from = x + start * in_values;
    float* to = y + start * out.values();
    parallel_for(images * in.height, [&](std::int64_t task) {
      const std::int64_t image = task / in.height;
      row_to_pixels(from + image * in_values, in, task % in.height,
                    input.get() + image * in.values());
    });
    conv.run(input.get(), output.get(), images, relu);
    parallel_for(images * out.height, [&](std::int64_t task) {
      const std::int64_t image = task / out.height;
      row_to_planes(output.get() + image * out.values(), out, task % out.height,
                    to + image * out.values());
    });
  }
}

}  // namespace goturn::cpu
