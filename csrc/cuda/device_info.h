// What the CUDA runtime says of this build and of this machine.  No CUDA headers needed to include
// it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace goturn::cuda {

struct Device {
  std::string name;
  int major;  // compute capability
  int minor;
  std::size_t memory;  // bytes
};

// The CUDA version that this module was compiled with, as CUDA counts: 1000 * major + 10 * minor.
int compiled_version();

// The GPUs of this machine, in CUDA's order.
//
// Throws std::runtime_error with CUDA's text where there is no driver, no GPU, or either fails.
std::vector<Device> devices();

}  // namespace goturn::cuda
