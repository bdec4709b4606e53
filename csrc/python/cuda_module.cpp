// The module goturn._cuda: what it was built for, the GPUs that it sees, and the operations of
// goturn::cuda on arrays in device memory, outputs and workspace included; and
// goturn._cuda_emulated, the same on NumPy arrays, its kernels run by the C++ compiler's code
// (csrc/emulation).

#include <pybind11/pybind11.h>

#include <sstream>
#include <string>

#include "cuda/device_info.h"
#include "cuda/ops.h"
#include "modules.h"

namespace {

namespace py = pybind11;

py::tuple architectures() {
  std::istringstream words(GOTURN_CUDA_ARCHITECTURES);
  py::list names;
  for (std::string word; words >> word;) names.append(word);
  return py::tuple(names);
}

py::list devices() {
  py::list found;
  for (const goturn::cuda::Device& device : goturn::cuda::devices()) {
    found.append(
        py::make_tuple(device.name, py::make_tuple(device.major, device.minor), device.memory));
  }
  return found;
}

}  // namespace

#ifdef GOTURN_EMULATE_CUDA
PYBIND11_MODULE(_cuda_emulated, module) {
#else
PYBIND11_MODULE(_cuda, module) {
#endif
  const int version = goturn::cuda::compiled_version();
  module.doc() = "The operations of goturn on a GPU, and what they were built for.";
  module.attr("version") = GOTURN_VERSION;
  module.attr("cuda_version") = py::make_tuple(version / 1000, version % 1000 / 10);
  module.attr("architectures") = architectures();
  module.attr("COUNTERS") = goturn::cuda::kCounters;
  module.def("devices", &devices,
             "(name, compute capability, bytes of memory) of each GPU, in CUDA's order; "
             "RuntimeError with CUDA's text where there is no driver or no GPU.");
  module.def(
      "compute_capability",
      [] {
        const int capability = goturn::cuda::compute_capability();
        return py::make_tuple(capability / 10, capability % 10);
      },
      "(major, minor) of the current device.");
  goturn::python::bind_cuda_checks(module);
  goturn::python::bind_cuda_layout(module);
  goturn::python::bind_cuda_conv2d(module);
  goturn::python::bind_cuda_planes(module);
  goturn::python::bind_cuda_match(module);
  goturn::python::bind_cuda_linear(module);
  goturn::python::bind_cuda_linear_backward(module);
  goturn::python::bind_cuda_elementwise(module);
  goturn::python::bind_cuda_crop_resize(module);
  goturn::python::bind_cuda_rows(module);
#ifdef GOTURN_EMULATE_CUDA
  goturn::python::bind_emulation(module);
#endif
}
