// The module goturn._cuda: what it was built for, and the GPUs that it sees.

#include <pybind11/pybind11.h>

#include <sstream>
#include <string>

#include "cuda/device_info.h"

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

PYBIND11_MODULE(_cuda, module) {
  const int version = goturn::cuda::compiled_version();
  module.doc() = "What goturn's CUDA code was built for, and the GPUs that it sees.";
  module.attr("version") = GOTURN_VERSION;
  module.attr("cuda_version") = py::make_tuple(version / 1000, version % 1000 / 10);
  module.attr("architectures") = architectures();
  module.def("devices", &devices,
             "(name, compute capability, bytes of memory) of each GPU, in CUDA's order; "
             "RuntimeError with CUDA's text where there is no driver or no GPU.");
}
