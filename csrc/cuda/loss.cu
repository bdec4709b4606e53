// The losses: a few hundred values in training, any number in principle, so one block does it all,
// in one launch; sums in double precision, always in one order.

#include <cmath>

#include "cuda/ops.h"
#include "cuda/platform.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 256;

struct Absolute {
  // -1, 0 or 1; a NaN stays one.
  static __device__ float gradient(float difference) {
    return difference > 0.0F ? 1.0F : (difference < 0.0F ? -1.0F : difference + 0.0F);
  }
  static __device__ double term(float difference) { return static_cast<double>(fabsf(difference)); }
};

struct HalfSquare {
  static __device__ float gradient(float difference) { return difference; }
  static __device__ double term(float difference) {
    const auto wide = static_cast<double>(difference);
    return 0.5 * (wide * wide);  // exact
  }
};

template <class Loss>
__global__ void sum_of(std::int64_t count, const float* prediction, const float* label,
                       float* gradient, double* value) {
  GOTURN_SHARED(double, sums, kThreads);
  const int thread = static_cast<int>(threadIdx.x);
  double sum = 0.0;
  for (std::int64_t i = thread; i < count; i += kThreads) {
    const float difference = prediction[i] - label[i];
    gradient[i] = Loss::gradient(difference);
    sum += Loss::term(difference);
  }
  sums[thread] = sum;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (thread < half) {
      const double other = sums[thread + half];
      sums[thread] += other;
    }
    __syncthreads();
  }
  if (thread == 0) *value = sums[0];
}

template <class Loss>
void launch_sum(const char* name, std::int64_t count, const float* prediction, const float* label,
                float* gradient, double* value, Stream stream) {
  Launch how;
  how.grid = dim3(1);
  how.block = dim3(kThreads);
  launch(name, sum_of<Loss>, how, stream, count, prediction, label, gradient, value);
}

}  // namespace

void l1_loss(std::int64_t count, const float* prediction, const float* label, float* gradient,
             double* value, Stream stream) {
  launch_sum<Absolute>("l1_loss", count, prediction, label, gradient, value, stream);
}

void l2_loss(std::int64_t count, const float* prediction, const float* label, float* gradient,
             double* value, Stream stream) {
  launch_sum<HalfSquare>("l2_loss", count, prediction, label, gradient, value, stream);
}

}  // namespace goturn::cuda
