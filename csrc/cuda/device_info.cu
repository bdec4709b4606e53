// Device queries of the CUDA runtime.

#include "device_info.h"

#include <map>
#include <mutex>
#include <utility>

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

bool may_overlap(const void* kernel) {
  static std::mutex mutex;
  static std::map<std::pair<int, const void*>, bool> known;
  int device = 0;
  GOTURN_CUDA_CHECK(cudaGetDevice(&device));
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find({device, kernel});
  if (found != known.end()) return found->second;
  constexpr int kCapturedSince = 12030;
  int driver = 0;
  cudaFuncAttributes attributes{};
  GOTURN_CUDA_CHECK(cudaDriverGetVersion(&driver));
  GOTURN_CUDA_CHECK(cudaFuncGetAttributes(&attributes, kernel));
  const bool may =
      driver >= kCapturedSince && compute_capability() >= 90 && attributes.ptxVersion >= 90;
  known.emplace(std::make_pair(device, kernel), may);
  return may;
}

}  // namespace goturn::cuda
