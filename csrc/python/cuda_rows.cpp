// Rows of matrices by number.

#include "cuda/ops.h"
#include "device_arrays.h"
#include "modules.h"

namespace goturn::python {
namespace {

std::int64_t row_stride(const DeviceArray& rows) {
  return rows.size() == 0 ? rows.shape(1)
                          : rows.strides(0) / static_cast<std::int64_t>(sizeof(float));
}

void check_matrices(const std::string& op, const DeviceArray& index, const DeviceArray& of_index,
                    const DeviceArray& x, const DeviceArray& y) {
  if (index.ndim() != 1 || index.shape(0) != of_index.shape(0) || x.shape(1) != y.shape(1)) {
    throw std::invalid_argument(op + ": index, x and y do not fit each other; got shapes " +
                                shape_text(index) + ", " + shape_text(x) + " and " + shape_text(y));
  }
  if (!y.writeable()) throw std::invalid_argument(op + ": y must be writeable");
}

void gather_rows(const py::object& index_object, const py::object& x_object,
                 const py::object& y_object, std::uintptr_t stream) {
  const auto index = device_contiguous_of<std::int32_t>(index_object, "gather_rows: index");
  const DeviceArray x = device_rows_of(x_object, "gather_rows: x");
  const DeviceArray y = device_rows_of(y_object, "gather_rows: y");
  check_contiguous(x);
  check_matrices("gather_rows", index, y, x, y);
  check_apart({&y}, {&x, &index});
  const py::gil_scoped_release release;
  cuda::gather_rows(y.shape(0), y.shape(1), data_of<std::int32_t>(index), data_of(x), data_of(y),
                    row_stride(y), stream_of(stream));
}

void sum_rows(const py::object& index_object, const py::object& x_object,
              const py::object& y_object, std::uintptr_t stream) {
  const auto index = device_contiguous_of<std::int32_t>(index_object, "sum_rows: index");
  const DeviceArray x = device_rows_of(x_object, "sum_rows: x");
  const DeviceArray y = device_rows_of(y_object, "sum_rows: y");
  check_contiguous(y);
  check_matrices("sum_rows", index, x, x, y);
  check_apart({&y}, {&x, &index});
  const py::gil_scoped_release release;
  cuda::sum_rows(x.shape(0), y.shape(0), y.shape(1), data_of<std::int32_t>(index), data_of(x),
                 row_stride(x), data_of(y), stream_of(stream));
}

}  // namespace

void bind_cuda_rows(py::module_& module) {
  module.def("gather_rows", &gather_rows, py::arg("index"), py::arg("x"), py::arg("y"),
             py::kw_only(), py::arg("stream"),
             "Row index[i] of x to row i of y.  The numbers are the caller's to check.");
  module.def("sum_rows", &sum_rows, py::arg("index"), py::arg("x"), py::arg("y"), py::kw_only(),
             py::arg("stream"), "Row g of y is the sum of the rows i of x with index[i] = g.");
}

}  // namespace goturn::python
