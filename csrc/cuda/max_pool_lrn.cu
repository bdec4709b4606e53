// Max pooling and local response normalisation of its output in one kernel: the pooled values of a
// pixel stay in registers, with their neighbours in shared memory, and only the normalised ones are
// stored.  The same bits as one after the other.
//
// For the network's two, of two crops in half precision: 1.1 MB to read and 0.28 MB to write
// (norm1), 0.73 and 0.17 MB (norm2).

#include "cuda/grid.h"
#include "cuda/normalisation.h"
#include "cuda/ops.h"
#include "cuda/pooling.h"

namespace goturn::cuda {
namespace {

constexpr int kNetworkKernel = 3;
constexpr int kThreads = 128;

template <int kKernel, int kCount, class T>
__global__ void pool_pixels(Pooling pool, Normalisation norm, const T* x, T* y) {
  const auto load = [&](std::int64_t pixel, int channel, float (&values)[kCount]) {
    pool_window<kKernel>(pool, x, pixel, channel, values);
  };
  normalise_pixels<kCount>(norm, load, y);
}

// Any shape: a value's neighbours are pooled again for it.
template <class T>
__global__ void pool_values(Pooling pool, Normalisation norm, const T* x, T* y) {
  wait_for_previous_kernel();
  let_next_kernel_start();
  const std::int64_t count = norm.pixels * norm.channels;
  for (std::int64_t i = first_piece(); i < count; i += next_piece()) {
    const std::int64_t pixel = i / norm.channels;
    const std::int64_t channel = i - pixel * norm.channels;
    const std::int64_t beyond = channel + norm.half + 1;
    const std::int64_t last = beyond < norm.channels ? beyond : norm.channels;
    float own = 0.0F;
    float sum = 0.0F;
    for (std::int64_t c = channel < norm.half ? 0 : channel - norm.half; c < last; ++c) {
      float pooled[1];
      pool_window<0>(pool, x, pixel, c, pooled);
      sum = fmaf(pooled[0], pooled[0], sum);
      if (c == channel) own = pooled[0];
    }
    y[i] = from_float<T>(own * power_of(norm, scale_of(norm, sum)));
  }
}

template <class T>
void launch_pool_lrn(const Pooling& pool, const Normalisation& norm, const T* x, T* y,
                     Stream stream) {
  Launch how;
  how.overlap_previous = true;
  const bool fast = pool.kernel == kNetworkKernel && pool.height > 0 && pool.width > 0 &&
                    PixelBlock::fits(norm, kVector<T>) && aligned16(x, y);
  if (fast) {
    const PixelBlock pixels(norm, kVector<T>);
    how.block = pixels.block;
    how.grid = dim3(static_cast<unsigned>(divide_up(norm.pixels, how.block.y)));
    how.shared_bytes = SharedMemory::shared_size<float>(pixels.shared_values);
    launch("max_pool_lrn", pool_pixels<kNetworkKernel, kVector<T>, T>, how, stream, pool, norm, x,
           y);
  } else {
    how.block = dim3(kThreads);
    how.grid = dim3(blocks_for(norm.pixels * norm.channels, kThreads));
    launch("max_pool_lrn", pool_values<T>, how, stream, pool, norm, x, y);
  }
}

}  // namespace

void max_pool_lrn(const PoolShape& pool, const LrnShape& norm, Type type, const void* x, void* y,
                  Stream stream) {
  if (pool.batch == 0 || pool.channels == 0) return;
  const Pooling pooling = pooling_of(pool);
  LrnShape shape = norm;
  shape.channels = pool.channels;
  const Normalisation normalisation =
      normalisation_of(shape, pooling.batch * pooling.rows * pooling.columns);
  dispatch(type, [&](auto zero) {
    using T = decltype(zero);
    launch_pool_lrn(pooling, normalisation, static_cast<const T*>(x), static_cast<T*>(y), stream);
  });
}

}  // namespace goturn::cuda
