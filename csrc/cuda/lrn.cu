// Local response normalisation in NHWC, forward and backward.
//
// Forward, in the network's shapes: a thread holds 16 bytes of a pixel's channels and takes those
// of its neighbours from shared memory; each value is read once and written once, and that is the
// floor.  Other sizes and odd channels go value by value, neighbours from the caches.
//
// Backward: with s the scale, dx_i = dy_i s_i^-b - 2 alpha b / size x_i sum_j dy_j x_j s_j^(-b-1),
// j over the channels about i.  A block has a pixel's channels in shared memory, then the terms of
// that sum.

#include <cmath>

#include "cuda/grid.h"
#include "cuda/normalisation.h"
#include "cuda/ops.h"
#include "cuda/vectors.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 128;
// Channels for which backward keeps two rows of floats in the 48 KB that every GPU has.
constexpr std::int64_t kMostShared = 6000;

template <int kCount, class T>
__global__ void normalise_images(Normalisation norm, const T* x, T* y) {
  const auto load = [&](std::int64_t pixel, int channel, float (&values)[kCount]) {
    load_vector(x + pixel * norm.channels + channel, values);
  };
  normalise_pixels<kCount>(norm, load, y);
}

// The sum of the squares about a channel, `pixel` being the pixel's first value.
template <class T>
__device__ __forceinline__ float squares_about(const Normalisation& norm, const T* pixel,
                                               std::int64_t channel) {
  const std::int64_t first = channel < norm.half ? 0 : channel - norm.half;
  const std::int64_t beyond = channel + norm.half + 1;
  const std::int64_t last = beyond < norm.channels ? beyond : norm.channels;
  float sum = 0.0F;
  for (std::int64_t c = first; c < last; ++c) {
    const float value = to_float(pixel[c]);
    sum = fmaf(value, value, sum);
  }
  return sum;
}

template <class T>
__global__ void normalise_values(Normalisation norm, const T* x, T* y) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const std::int64_t count = norm.pixels * norm.channels;
  for (std::int64_t i = first_piece(); i < count; i += next_piece()) {
    const std::int64_t channel = i % norm.channels;
    const float scale = scale_of(norm, squares_about(norm, x + (i - channel), channel));
    y[i] = from_float<T>(to_float(x[i]) * power_of(norm, scale));
  }
}

template <class T>
void launch_lrn(const Normalisation& norm, const T* x, T* y, Stream stream) {
  Launch how;
  how.overlap_previous = true;
  if (PixelBlock::fits(norm, kVector<T>) && aligned16(x, y)) {
    const PixelBlock pixels(norm, kVector<T>);
    how.block = pixels.block;
    how.grid = dim3(static_cast<unsigned>(divide_up(norm.pixels, how.block.y)));
    how.shared_bytes = SharedMemory::shared_size<float>(pixels.shared_values);
    launch("lrn", normalise_images<kVector<T>, T>, how, stream, norm, x, y);
  } else {
    how.block = dim3(kThreads);
    how.grid = dim3(blocks_for(norm.pixels * norm.channels, kThreads));
    launch("lrn", normalise_values<T>, how, stream, norm, x, y);
  }
}

// Gradient of one value without the sum, and its term in the sums of its neighbours.
struct Gradient {
  float direct;
  float term;
};

__device__ __forceinline__ Gradient gradient_of(const Normalisation& norm, float dy, float x,
                                                float squares) {
  const float scale = scale_of(norm, squares);
  const float direct = dy * power_of(norm, scale);
  return {direct, direct * x / scale};
}

__device__ __forceinline__ float whole_gradient(const Normalisation& norm, float direct, float x,
                                                float sum) {
  return fmaf(-norm.gradient_factor * x, sum, direct);
}

// A block for one pixel at a time.
__global__ void backward_pixels(Normalisation norm, const float* dy, const float* x, float* dx) {
  SharedMemory memory;
  const int channels = static_cast<int>(norm.channels);
  const int half = static_cast<int>(norm.half);
  const Shared<float> values = memory.take<float>(channels);
  const Shared<float> terms = memory.take<float>(channels);
  for (std::int64_t pixel = blockIdx.x; pixel < norm.pixels; pixel += gridDim.x) {
    const std::int64_t base = pixel * channels;
    for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads)
      values[c] = x[base + c];
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads) {
      const int last = c + half + 1 < channels ? c + half + 1 : channels;
      float squares = 0.0F;
      for (int j = c < half ? 0 : c - half; j < last; ++j) {
        squares = fmaf(values[j], values[j], squares);
      }
      const Gradient gradient = gradient_of(norm, dy[base + c], values[c], squares);
      terms[c] = gradient.term;
      dx[base + c] = gradient.direct;
    }
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads) {
      const int last = c + half + 1 < channels ? c + half + 1 : channels;
      float sum = 0.0F;
      for (int j = c < half ? 0 : c - half; j < last; ++j) sum += terms[j];
      dx[base + c] = whole_gradient(norm, dx[base + c], values[c], sum);
    }
    __syncthreads();
  }
}

// For more channels than shared memory holds: every term is computed again for each of its uses.
__global__ void backward_values(Normalisation norm, const float* dy, const float* x, float* dx) {
  const std::int64_t count = norm.pixels * norm.channels;
  for (std::int64_t i = first_piece(); i < count; i += next_piece()) {
    const std::int64_t channel = i % norm.channels;
    const std::int64_t base = i - channel;
    const std::int64_t beyond = channel + norm.half + 1;
    const std::int64_t last = beyond < norm.channels ? beyond : norm.channels;
    float direct = 0.0F;
    float sum = 0.0F;
    for (std::int64_t c = channel < norm.half ? 0 : channel - norm.half; c < last; ++c) {
      const Gradient gradient =
          gradient_of(norm, dy[base + c], x[base + c], squares_about(norm, x + base, c));
      sum += gradient.term;
      if (c == channel) direct = gradient.direct;
    }
    dx[i] = whole_gradient(norm, direct, x[i], sum);
  }
}

}  // namespace

void lrn(const LrnShape& shape, Type type, const void* x, void* y, Stream stream) {
  const Normalisation norm = normalisation_of(shape, shape.batch * shape.pixels);
  if (norm.pixels * norm.channels == 0) return;
  dispatch(type, [&](auto zero) {
    using T = decltype(zero);
    launch_lrn(norm, static_cast<const T*>(x), static_cast<T*>(y), stream);
  });
}

void lrn_backward(const LrnShape& shape, const float* dy, const float* x, float* dx,
                  Stream stream) {
  const Normalisation norm = normalisation_of(shape, shape.batch * shape.pixels);
  if (norm.pixels * norm.channels == 0) return;
  Launch how;
  how.block = dim3(kThreads);
  if (norm.channels <= kMostShared) {
    how.grid = dim3(blocks_for(norm.pixels, 1));
    how.shared_bytes = 2 * SharedMemory::shared_size<float>(static_cast<int>(norm.channels));
    launch("lrn_backward", backward_pixels, how, stream, norm, dy, x, dx);
  } else {
    how.grid = dim3(blocks_for(norm.pixels * norm.channels, kThreads));
    launch("lrn_backward", backward_values, how, stream, norm, dy, x, dx);
  }
}

}  // namespace goturn::cuda
