// CUDA's error codes as exceptions.
#pragma once

#include <cuda_runtime.h>

#include <stdexcept>
#include <string>

namespace goturn::cuda {

// Throws std::runtime_error (RuntimeError in Python) with the failed call and CUDA's text.
inline void check(cudaError_t status, const char* call) {
  if (status != cudaSuccess) {
    throw std::runtime_error(std::string(call) + " failed: " + cudaGetErrorString(status));
  }
}

}  // namespace goturn::cuda

#define GOTURN_CUDA_CHECK(call) ::goturn::cuda::check((call), #call)
