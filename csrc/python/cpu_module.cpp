// The module goturn._cpu: the operations of goturn::cpu on NumPy arrays.

#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace {

namespace py = pybind11;
using goturn::python::crop_resize_parameters_of;
using goturn::python::frame_of;
using goturn::python::windows_of;

py::array_t<float> crop_resize(const py::object& frame_object, const py::object& windows_object,
                               std::int64_t size, const py::sequence& mean,
                               const std::string& colour_order) {
  const goturn::Frame frame = frame_of(frame_object);
  const auto parameters = crop_resize_parameters_of(size, mean, colour_order);
  const auto windows = windows_of(windows_object, frame);
  const auto count = static_cast<py::ssize_t>(windows.size());
  py::array_t<float> crops({count, py::ssize_t{3}, py::ssize_t{size}, py::ssize_t{size}});
  float* values = crops.mutable_data();
  {
    const py::gil_scoped_release release;
    goturn::cpu::crop_resize(frame, windows.data(), count, parameters, values);
  }
  return crops;
}

}  // namespace

PYBIND11_MODULE(_cpu, module) {
  module.doc() = "The operations of goturn in C++, on NumPy arrays.";
  module.attr("version") = GOTURN_VERSION;
#if defined(__clang__)
  module.attr("compiler") = __VERSION__;
#else
  module.attr("compiler") = "GCC " __VERSION__;
#endif
  module.def("crop_resize", &crop_resize, py::arg("frame"), py::arg("windows"), py::kw_only(),
             py::arg("size"), py::arg("mean"), py::arg("colour_order"),
             "The windows (N, 8) int64 of a frame (H, W, C) uint8 as (N, 3, size, size) float32.");
  goturn::python::bind_tower(module);
  goturn::python::bind_linear(module);
  goturn::python::bind_linear_backward(module);
  goturn::python::bind_conv2d(module);
  goturn::python::bind_planes(module);
  goturn::python::bind_match(module);
  goturn::python::bind_elementwise(module);
}
