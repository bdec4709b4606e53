// Layouts and copies on the GPU.

#include "arguments.h"
#include "cuda/ops.h"
#include "device_arrays.h"
#include "modules.h"

namespace goturn::python {
namespace {

void check_four(const DeviceArray& array, const std::string& letters) {
  if (array.ndim() != 4) {
    throw std::invalid_argument(array.name() + " " + letters + " has 4 dimensions; got shape " +
                                shape_text(array));
  }
}

void nchw_to_nhwc(const py::object& x_object, const py::object& y_object, std::uintptr_t stream) {
  const DeviceArray x = device_contiguous_of(x_object, "nchw_to_nhwc: x");
  const DeviceArray y = device_numbers_of(y_object, "nchw_to_nhwc: y");
  check_four(x, "(N, C, H, W)");
  check_four(y, "(N, H, W, C or more)");
  const std::int64_t padded = y.shape(3);
  if (padded < x.shape(1)) {
    throw std::invalid_argument("nchw_to_nhwc: y " + shape_text(y) + " has fewer channels than x " +
                                shape_text(x));
  }
  check_output(y, {x.shape(0), x.shape(2), x.shape(3), padded});
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::nchw_to_nhwc(x.shape(0), x.shape(1), x.shape(2) * x.shape(3), padded, data_of(x),
                     type_of(y), y.data(), stream_of(stream));
}

void nhwc_to_nchw(const py::object& x_object, const py::object& y_object, std::uintptr_t stream) {
  const DeviceArray x = device_numbers_of(x_object, "nhwc_to_nchw: x");
  check_four(x, "(N, H, W, C)");
  const DeviceArray y = device_output_of(y_object, "nhwc_to_nchw: y",
                                         {x.shape(0), x.shape(3), x.shape(1), x.shape(2)});
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::nhwc_to_nchw(x.shape(0), x.shape(3), x.shape(1) * x.shape(2), type_of(x), x.data(),
                     data_of(y), stream_of(stream));
}

void check_written_rows(const DeviceArray& y) {
  if (!y.writeable()) throw std::invalid_argument(y.name() + " must be writeable");
  if (y.shape(0) > 1 && row_stride(y) < y.shape(1)) {
    throw std::invalid_argument(y.name() + " is written and its rows must not overlap");
  }
}

void copy_rows(const py::object& x_object, const py::object& y_object, float factor,
               std::uintptr_t stream) {
  const DeviceArray x = device_rows_of(x_object, "copy_rows: x");
  const DeviceArray y = device_rows_of(y_object, "copy_rows: y");
  check_one_shape("copy_rows", {{"x", x}, {"y", y}});
  check_written_rows(y);
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::copy_rows(x.shape(0), x.shape(1), data_of(x), row_stride(x), factor, data_of(y),
                  row_stride(y), stream_of(stream));
}

void add(const py::object& x_object, const py::object& y_object, std::uintptr_t stream) {
  const DeviceArray x = device_contiguous_of(x_object, "add: x");
  const DeviceArray y = device_changed_of(y_object, "add: y");
  check_one_shape("add", {{"x", x}, {"y", y}});
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::add(x.size(), data_of(x), data_of(y), stream_of(stream));
}

}  // namespace

void bind_cuda_layout(py::module_& module) {
  module.def("nchw_to_nhwc", &nchw_to_nhwc, py::arg("x"), py::arg("y"), py::kw_only(),
             py::arg("stream"),
             "x (N, C, H, W) float32 to y (N, H, W, C or more), zeros in channels beyond C.");
  module.def("nhwc_to_nchw", &nhwc_to_nchw, py::arg("x"), py::arg("y"), py::kw_only(),
             py::arg("stream"), "x (N, H, W, C) to y (N, C, H, W) float32.");
  module.def("copy_rows", &copy_rows, py::arg("x"), py::arg("y"), py::kw_only(), py::arg("factor"),
             py::arg("stream"), "y = x times factor: matrices whose rows may lie apart.");
  module.def("add", &add, py::arg("x"), py::arg("y"), py::kw_only(), py::arg("stream"), "y += x.");
}

}  // namespace goturn::python
