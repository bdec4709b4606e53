// The emulated device, as csrc/cuda/device_info.cu describes real ones.
#include "cuda/device_info.h"
#include "cuda/ops.h"
#include "emulation/settings.h"

namespace goturn::cuda {

int compiled_version() { return 0; }

int compute_capability() { return emulation::settings().capability; }

std::vector<Device> devices() {
  const int capability = compute_capability();
  return {{"emulated", capability / 10, capability % 10, 0}};
}

}  // namespace goturn::cuda
