// What kernels are written in: CUDA C++ where nvcc compiles them, and csrc/emulation where the C++
// compiler does, for tests on machines without a GPU.
//
// Kernels use CUDA's own words (__global__, threadIdx, __syncthreads, __shfl_xor_sync, float4,
// atomicAdd, ...).  What is no C++ is behind the names below, each with a GPU and an emulated body:
//
//   launch(...)                         instead of <<<>>>
//   GOTURN_SHARED(T, name, count)       a static array in shared memory
//   SharedMemory::take<T>(count)        arrays in dynamic shared memory, in order, 16-byte aligned
//   Shared<T>                           a view of either: s[i], s + i, s.load<V>(i), s.store(i, v)
//   copy_async, ..._commit, ..._wait    cp.async
//   load_matrix..., mma_...             ldmatrix, mma.sync (matrix.h)
//   wait_for_previous_kernel, ...       programmatic dependent launch
//
// All shared memory is reached through Shared<T>, so that the emulation can see every access: it
// reports reads of what nobody wrote, accesses out of bounds, and two threads at the same value
// with no barrier between them.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef GOTURN_EMULATE_CUDA
#include "emulation/platform.h"
#else

#include <cuda_runtime.h>

#include "cuda/check.h"

namespace goturn::cuda {

// How a kernel is launched.
struct Launch {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;  // of dynamic shared memory
  // Starts while the kernel before it in the stream still runs; the kernel must then call
  // wait_for_previous_kernel() before it touches what that one reads or writes.
  bool overlap_previous = false;
};

// Whether a launch of `kernel` on the current device may overlap the one before it: only code for
// sm_90 and later waits for that one, whatever the GPU is, and only drivers since CUDA 12.3 can
// capture such launches.  Asked once for each kernel and device (device_info.cu).
bool may_overlap(const void* kernel);

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const Launch& how, void* stream,
            const Arguments&... arguments) {
  constexpr std::size_t kAlwaysThere = 48 * 1024;
  const auto* function = reinterpret_cast<const void*>(kernel);
  if (how.shared_bytes > kAlwaysThere) {
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(how.shared_bytes)),
          name);
  }
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = how.grid;
  config.blockDim = how.block;
  config.dynamicSmemBytes = how.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = how.overlap_previous && may_overlap(function) ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), name);
}

// A view of values in shared memory.
template <class T>
class Shared {
 public:
  __device__ explicit Shared(T* values) : values_(values) {}

  __device__ __forceinline__ T& operator[](int index) const { return values_[index]; }
  __device__ __forceinline__ Shared operator+(int offset) const { return Shared(values_ + offset); }
  // A vector V of values from `index` on, aligned as V is.
  template <class V>
  __device__ __forceinline__ V load(int index) const {
    return *reinterpret_cast<const V*>(values_ + index);
  }
  template <class V>
  __device__ __forceinline__ void store(int index, const V& vector) const {
    *reinterpret_cast<V*>(values_ + index) = vector;
  }
  // For instructions that take an address in shared memory; not for C++.
  __device__ __forceinline__ unsigned address(int index) const {
    return static_cast<unsigned>(__cvta_generic_to_shared(values_ + index));
  }

 private:
  T* values_;
};

#define GOTURN_SHARED(T, name, count)               \
  __shared__ alignas(16) T name##_storage[(count)]; \
  const ::goturn::cuda::Shared<T> name(name##_storage)

// The dynamic shared memory of a block, handed out in order; every thread takes the same.
class SharedMemory {
 public:
  template <class T>
  __device__ __forceinline__ Shared<T> take(int count) {
    extern __shared__ __align__(16) unsigned char goturn_dynamic_shared[];
    T* values = reinterpret_cast<T*>(goturn_dynamic_shared + taken_);
    taken_ += shared_size<T>(count);
    return Shared<T>(values);
  }
  // Bytes that take<T>(count) uses.
  template <class T>
  __host__ __device__ static constexpr int shared_size(int count) {
    return (count * static_cast<int>(sizeof(T)) + 15) / 16 * 16;
  }

 private:
  int taken_ = 0;
};

// Begins to copy kBytes (4, 8 or 16; both sides aligned to that) to shared memory, or zeros where
// not `valid` (`from` must be an address inside the array all the same; it is not read).  Done when
// a wait says so, and for other threads after a barrier besides.
template <int kBytes, class T>
__device__ __forceinline__ void copy_async(const Shared<T>& to, int index, const T* from,
                                           bool valid = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
#if __CUDA_ARCH__ >= 800
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(to.address(index)),
                 "l"(from), "r"(bytes)
                 : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;\n" ::"r"(to.address(index)),
                 "l"(from), "n"(kBytes), "r"(bytes)
                 : "memory");
  }
#else
  if constexpr (kBytes == 16) {
    to.store(index, valid ? *reinterpret_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0));
  } else if constexpr (kBytes == 8) {
    to.store(index, valid ? *reinterpret_cast<const uint2*>(from) : make_uint2(0, 0));
  } else {
    to.store(index, valid ? *reinterpret_cast<const unsigned*>(from) : 0U);
  }
#endif
}

// Ends a group of this thread's copies.
__device__ __forceinline__ void copy_async_commit() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}

// Waits until at most kPending of this thread's latest groups are not done.
template <int kPending>
__device__ __forceinline__ void copy_async_wait() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kPending) : "memory");
#endif
}

// With Launch::overlap_previous: waits until the kernel before this one in the stream is done and
// its writes are seen.
__device__ __forceinline__ void wait_for_previous_kernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}

// Lets the next kernel of the stream start, if it was launched with overlap_previous.
__device__ __forceinline__ void let_next_kernel_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

}  // namespace goturn::cuda

#endif

namespace goturn::cuda {

// Asks for the 128 bytes about `address` in the L2 cache, which sees every write: safe before
// wait_for_previous_kernel(), even of what that kernel changes.
__device__ __forceinline__ void prefetch_l2(const void* address) {
#ifdef GOTURN_EMULATE_CUDA
  static_cast<void>(address);
#else
  asm volatile("prefetch.global.L2 [%0];\n" ::"l"(address));
#endif
}

}  // namespace goturn::cuda
