// What a GPU can do at best: bytes a second copied and read, float multiply-adds a second.
//
// Prints one JSON object.  Compiled by ceilings.py for the GPU at hand.  Medians of several passes
// after a warm-up, by events; the buffers are many times the cache and hold no zeros.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kThreads = 256;
constexpr int kPasses = 15;
constexpr int kChains = 16;       // independent multiply-adds of a thread
constexpr int kSteps = 16 << 10;  // of each chain

void check(cudaError_t status) {
  if (status != cudaSuccess) {
    std::fprintf(stderr, "CUDA: %s\n", cudaGetErrorString(status));
    std::exit(1);
  }
}

__global__ void fill(float4* x, size_t count) {
  const size_t step = size_t(gridDim.x) * blockDim.x;
  for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    const unsigned bits = unsigned(i) * 2654435761u;
    const float value = float(bits >> 8) * (1.0f / (1 << 24)) + 0.25f;
    x[i] = make_float4(value, -value, value * 0.5f, 1 - value);
  }
}

// Four loads in flight a thread, each warp reading 512 bytes in a row.
__global__ void copy(const float4* __restrict__ x, float4* __restrict__ y, size_t count) {
  const size_t tile = size_t(blockDim.x) * 4;
  for (size_t start = blockIdx.x * tile; start < count; start += gridDim.x * tile) {
    float4 values[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const size_t at = start + i * blockDim.x + threadIdx.x;
      if (at < count) values[i] = __ldcs(x + at);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const size_t at = start + i * blockDim.x + threadIdx.x;
      if (at < count) __stcs(y + at, values[i]);
    }
  }
}

__global__ void read(const float4* __restrict__ x, float* sums, size_t count) {
  const size_t tile = size_t(blockDim.x) * 8;
  float sum = 0;
  for (size_t start = blockIdx.x * tile; start < count; start += gridDim.x * tile) {
    float4 values[8];
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const size_t at = start + i * blockDim.x + threadIdx.x;
      values[i] = at < count ? __ldcs(x + at) : make_float4(0, 0, 0, 0);
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += values[i].x + values[i].y + values[i].z + values[i].w;
  }
  if (sum == 1e30f) sums[threadIdx.x] = sum;  // never, which the compiler cannot know
}

__global__ void multiply_add(float* sums, float factor, float term) {
  float values[kChains];
#pragma unroll
  for (int i = 0; i < kChains; ++i) values[i] = float(threadIdx.x + i);
#pragma unroll 4
  for (int step = 0; step < kSteps; ++step) {
#pragma unroll
    for (int i = 0; i < kChains; ++i) values[i] = fmaf(values[i], factor, term);
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kChains; ++i) sum += values[i];
  if (sum == 1e30f) sums[threadIdx.x] = sum;
}

template <class Launch>
double median_seconds(const Launch& launch) {
  cudaEvent_t begin, end;
  check(cudaEventCreate(&begin));
  check(cudaEventCreate(&end));
  std::vector<double> times;
  for (int pass = -3; pass < kPasses; ++pass) {
    check(cudaEventRecord(begin));
    launch();
    check(cudaGetLastError());
    check(cudaEventRecord(end));
    check(cudaEventSynchronize(end));
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin, end));
    if (pass >= 0) times.push_back(milliseconds * 1e-3);
  }
  std::nth_element(times.begin(), times.begin() + kPasses / 2, times.end());
  return times[kPasses / 2];
}

}  // namespace

int main() {
  cudaDeviceProp device;
  check(cudaGetDeviceProperties(&device, 0));
  size_t free_bytes = 0, all_bytes = 0;
  check(cudaMemGetInfo(&free_bytes, &all_bytes));
  // Two buffers of 2 GiB, or what a small GPU has room for.
  const size_t bytes = std::min<size_t>(size_t(2) << 30, free_bytes / 4) & ~size_t(4095);
  const size_t count = bytes / sizeof(float4);
  const int blocks = device.multiProcessorCount * 16;
  float4 *x = nullptr, *y = nullptr;
  check(cudaMalloc(&x, bytes));
  check(cudaMalloc(&y, bytes));
  fill<<<blocks, kThreads>>>(x, count);
  fill<<<blocks, kThreads>>>(y, count);
  check(cudaDeviceSynchronize());
  float* sums = reinterpret_cast<float*>(y);

  const double copied = median_seconds([&] { copy<<<blocks, kThreads>>>(x, y, count); });
  const double moved = median_seconds(
      [&] { check(cudaMemcpyAsync(y, x, bytes, cudaMemcpyDeviceToDevice)); });
  const double was_read = median_seconds([&] { read<<<blocks, kThreads>>>(x, sums, count); });
  const int full = device.multiProcessorCount * (device.maxThreadsPerMultiProcessor / kThreads);
  const double multiplied =
      median_seconds([&] { multiply_add<<<full * 4, kThreads>>>(sums, 0.999f, 0.001f); });
  const double flops = 2.0 * full * 4 * kThreads * kChains * double(kSteps);

  std::printf(
      "{\"name\": \"%s\", \"capability\": [%d, %d], \"multiprocessors\": %d, \"l2_bytes\": %d, "
      "\"memory_bytes\": %zu, \"buffer_bytes\": %zu, \"copy_bytes_per_s\": %.6g, "
      "\"memcpy_bytes_per_s\": %.6g, \"read_bytes_per_s\": %.6g, \"fp32_flops_per_s\": %.6g}\n",
      device.name, device.major, device.minor, device.multiProcessorCount, device.l2CacheSize,
      all_bytes, bytes, 2.0 * double(bytes) / copied, 2.0 * double(bytes) / moved,
      double(bytes) / was_read, flops / multiplied);
  return 0;
}
