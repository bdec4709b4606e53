// Gradients of a convolution.
//
// dx is a convolution itself: dy, its pixels `stride` apart and zeros between and around them, by
// the weights turned round.  It costs what the forward pass costs where the stride is 1, stride^2
// as much elsewhere, which in this network is conv1 alone, whose dx nobody needs.
//
// dweight is a matrix product for each group, of dy (channels, pixels) with what each weight saw
// (pixels, weights).  That matrix is not made: weight (c, r, s) sees at pixel (p, q) what lies at
// one offset for the weight plus one for the pixel in an image with its border.

#include <algorithm>
#include <vector>

#include "cpu/blocks.h"
#include "cpu/conv2d_packed.h"
#include "cpu/gemm.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// Images that are converted together: their copies should stay in the cache.
constexpr std::int64_t kBatch = 4;
// Output pixels that a product sums over, about: as many images as make them up go together.
constexpr std::int64_t kPixelsPerProduct = 2048;

std::int64_t kernel_area(const ConvShape& shape) {
  return shape.kernel_height * shape.kernel_width;
}

// Row p of dy (K, P, Q) into an image (H + R - 1, W + S - 1, K) of zeros, its pixels `stride`
// apart.
void spread(const ConvShape& shape, const float* dy, std::int64_t p, const Image& image,
            float* to) {
  const std::int64_t rows = shape.out_height(), columns = shape.out_width();
  const std::int64_t y = shape.kernel_height - 1 - shape.pad + p * shape.stride;
  if (y < 0 || y >= image.height) return;  // a window that sees padding alone
  for (std::int64_t q = 0; q < columns; ++q) {
    const std::int64_t x = shape.kernel_width - 1 - shape.pad + q * shape.stride;
    if (x < 0 || x >= image.width) continue;
    const float* from = dy + p * columns + q;
    float* pixel = to + image.at(y, x);
    for (std::int64_t k = 0; k < shape.outputs; ++k) pixel[k] = from[k * rows * columns];
  }
}

void input_gradient(const ConvShape& shape, const float* dy, const float* weight, float* dx) {
  const Image in{shape.height + shape.kernel_height - 1, shape.width + shape.kernel_width - 1,
                 shape.outputs, 0};
  const Image out{shape.height, shape.width, shape.channels, 0};
  const std::int64_t area = kernel_area(shape);
  const std::int64_t in_group = shape.channels / shape.groups;
  const FilterLayout filters{weight + area - 1, shape.outputs / shape.groups * in_group * area,
                             area, in_group * area, -1};
  const PackedConv conv(in, out, shape.kernel_height, shape.kernel_width, 1, shape.groups, filters,
                        nullptr);
  const std::int64_t batch = std::min(kBatch, shape.batch);
  const Floats spaced = zeros(values_of({batch, in.values()}));
  const Floats pixels = floats(values_of({batch, out.values()}));
  const std::int64_t rows = shape.out_height();
  const std::int64_t dy_values = shape.outputs * rows * shape.out_width();
  for (std::int64_t start = 0; start < shape.batch; start += batch) {
    const std::int64_t images = std::min(batch, shape.batch - start);
    const float* from = dy + start * dy_values;
    float* to = dx + start * out.values();
    parallel_for(images * rows, [&](std::int64_t task) {
      // The zeros stay: every image writes the same places.
      const std::int64_t image = task / rows;
      spread(shape, from + image * dy_values, task % rows, in, spaced.get() + image * in.values());
    });
    conv.run(spaced.get(), pixels.get(), images, false);
    parallel_for(images * out.height, [&](std::int64_t task) {
      const std::int64_t image = task / out.height;
      row_to_planes(pixels.get() + image * out.values(), out, task % out.height,
                    to + image * out.values());
    });
  }
}

// Planes (C, H, W) of images, each with a border of zeros.
class Bordered {
 public:
  Bordered(const ConvShape& shape, std::int64_t images)
      : shape_(shape),
        row_(shape.width + 2 * shape.pad),
        plane_(values_of({shape.height + 2 * shape.pad, row_})),
        planes_(zeros(shape.pad > 0 ? values_of({images, shape.channels, plane_}) : 0)) {}

  std::int64_t row() const { return row_; }
  std::int64_t plane() const { return plane_; }

  // `images` images from x, where a border is wanted in a copy.
  const float* of(const float* x, std::int64_t images) {
    if (shape_.pad == 0) return x;
    parallel_for(images * shape_.channels, [&](std::int64_t plane) {
      const float* from = x + plane * shape_.height * shape_.width;
      float* to = planes_.get() + plane * plane_ + shape_.pad * row_ + shape_.pad;
      for (std::int64_t y = 0; y < shape_.height; ++y) {
        std::copy_n(from + y * shape_.width, shape_.width, to + y * row_);
      }
    });
    return planes_.get();
  }

 private:
  const ConvShape& shape_;
  std::int64_t row_;
  std::int64_t plane_;
  Floats planes_;
};

// Where things lie in dy and in bordered images, for the products.
struct Offsets {
  std::vector<std::int64_t> seen_by_weight;  // (C / groups, R, S)
  std::vector<std::int64_t> seen_at_pixel;   // (images, P, Q)
  std::vector<std::int64_t> channel;         // of dy, (K / groups)
  std::vector<std::int64_t> pixel;           // of dy, (images, P, Q)

  Offsets(const ConvShape& shape, const Bordered& bordered, std::int64_t images) {
    const std::int64_t rows = shape.out_height(), columns = shape.out_width();
    for (std::int64_t c = 0; c < shape.channels / shape.groups; ++c) {
      for (std::int64_t r = 0; r < shape.kernel_height; ++r) {
        for (std::int64_t s = 0; s < shape.kernel_width; ++s) {
          seen_by_weight.push_back(c * bordered.plane() + r * bordered.row() + s);
        }
      }
    }
    for (std::int64_t image = 0; image < images; ++image) {
      for (std::int64_t p = 0; p < rows; ++p) {
        for (std::int64_t q = 0; q < columns; ++q) {
          seen_at_pixel.push_back(image * shape.channels * bordered.plane() +
                                  (p * bordered.row() + q) * shape.stride);
          pixel.push_back((image * shape.outputs * rows + p) * columns + q);
        }
      }
    }
    for (std::int64_t k = 0; k < shape.outputs / shape.groups; ++k) {
      channel.push_back(k * rows * columns);
    }
  }
};

void weight_gradient(const ConvShape& shape, const float* dy, const float* x, float* dweight) {
  const std::int64_t pixels = shape.out_height() * shape.out_width();
  const std::int64_t out_group = shape.outputs / shape.groups;
  const std::int64_t in_group = shape.channels / shape.groups;
  const std::int64_t weights = in_group * kernel_area(shape);
  const std::int64_t step = std::clamp<std::int64_t>(kPixelsPerProduct / pixels, 1,
                                                     std::max<std::int64_t>(1, shape.batch));
  if (shape.outputs * weights == 0) return;  // there may be any number of empty groups
  Bordered bordered(shape, step);
  const Offsets offsets(shape, bordered, step);
  if (shape.batch == 0) std::fill_n(dweight, shape.outputs * weights, 0.0F);
  for (std::int64_t start = 0; start < shape.batch; start += step) {
    const std::int64_t images = std::min(step, shape.batch - start);
    const float* seen =
        bordered.of(x + start * shape.channels * shape.height * shape.width, images);
    for (std::int64_t group = 0; group < shape.groups; ++group) {
      const Operand a{dy + (start * shape.outputs + group * out_group) * pixels, 0, 0,
                      offsets.channel.data(), offsets.pixel.data()};
      const Operand b{seen + group * in_group * bordered.plane(), 0, 0,
                      offsets.seen_by_weight.data(), offsets.seen_at_pixel.data()};
      gemm({out_group, weights, images * pixels, a, b}, dweight + group * out_group * weights,
           weights, start > 0);
    }
  }
}

void bias_gradient(const ConvShape& shape, const float* dy, float* dbias) {
  const std::int64_t pixels = shape.out_height() * shape.out_width();
  parallel_for(shape.outputs, [&](std::int64_t k) {
    double total = 0;
    for (std::int64_t image = 0; image < shape.batch; ++image) {
      const float* from = dy + (image * shape.outputs + k) * pixels;
      total +=
          sum_in_turns(0, pixels, [=](std::int64_t i) { return static_cast<double>(from[i]); });
    }
    dbias[k] = static_cast<float>(total);
  });
}

}  // namespace

void conv2d_backward(const ConvShape& shape, const float* dy, const float* x, const float* weight,
                     float* dx, float* dweight, float* dbias) {
  if (dx != nullptr && shape.batch > 0) input_gradient(shape, dy, weight, dx);
  weight_gradient(shape, dy, x, dweight);
  bias_gradient(shape, dy, dbias);
}

}  // namespace goturn::cpu
