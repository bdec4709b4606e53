// Device queries of the CUDA runtime.

#include "device_info.h"

#include "check.h"
#include "ops.h"

namespace goturn::cuda {

int compiled_version() { return CUDART_VERSION; }

std::vector<Device> devices() {
  int count = 0;
  GOTURN_CUDA_CHECK(cudaGetDeviceCount(&count));
  std::vector<Device> found;
  for (int index = 0; index < count; ++index) {
    cudaDeviceProp properties;
    GOTURN_CUDA_CHECK(cudaGetDeviceProperties(&properties, index));
    found.push_back(
        {properties.name, properties.major, properties.minor, properties.totalGlobalMem});
  }
  return found;
}

int compute_capability() {
  int device = 0;
  int major = 0;
  int minor = 0;
  GOTURN_CUDA_CHECK(cudaGetDevice(&device));
  GOTURN_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  GOTURN_CUDA_CHECK(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device));
  return 10 * major + minor;
}

}  // namespace goturn::cuda
