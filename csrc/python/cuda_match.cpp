// The match of two feature maps on the GPU.

#include "arguments.h"
#include "cuda/ops.h"
#include "device_arrays.h"
#include "modules.h"

namespace goturn::python {
namespace {

cuda::MatchInput input_of(const DeviceArray& features) {
  return {data_of(features), row_stride(features)};
}

std::vector<py::ssize_t> map_of(const MatchShape& shape) {
  return {static_cast<py::ssize_t>(shape.batch),
          static_cast<py::ssize_t>(shape.cells * shape.cells)};
}

// The columns of both sides, which the operations store.
DeviceArray columns_of(const py::object& object, const std::string& op, const MatchShape& shape) {
  return device_output_of(
      object, op + ": columns",
      {2, static_cast<py::ssize_t>(shape.batch), static_cast<py::ssize_t>(shape.channels + 1),
       static_cast<py::ssize_t>(shape.cells)});
}

void match(const py::object& targets_object, const py::object& searches_object,
           const py::object& y_object, std::int64_t cells, float scale,
           const py::object& columns_object, std::uintptr_t stream) {
  const DeviceArray targets = device_rows_of(targets_object, "match: targets");
  const DeviceArray searches = device_rows_of(searches_object, "match: searches");
  const MatchShape shape = match_shape_of("match", targets, searches, cells, scale);
  const DeviceArray y = device_rows_of(y_object, "match: y");
  if (!y.writeable()) throw std::invalid_argument("match: y must be writeable");
  check_shape(y, map_of(shape));
  const DeviceArray columns = columns_of(columns_object, "match", shape);
  check_apart({&y, &columns}, {&targets, &searches});
  const py::gil_scoped_release release;
  cuda::match(shape, input_of(targets), input_of(searches), data_of(y), row_stride(y),
              data_of(columns), stream_of(stream));
}

void match_backward(const py::object& dy_object, const py::object& targets_object,
                    const py::object& searches_object, const py::object& d_targets_object,
                    const py::object& d_searches_object, std::int64_t cells, float scale,
                    const py::object& columns_object, std::uintptr_t stream) {
  const DeviceArray dy = device_contiguous_of(dy_object, "match_backward: dy");
  const DeviceArray targets = device_rows_of(targets_object, "match_backward: targets");
  const DeviceArray searches = device_rows_of(searches_object, "match_backward: searches");
  const MatchShape shape = match_shape_of("match_backward", targets, searches, cells, scale);
  check_match_gradient(dy, targets, shape);
  const DeviceArray d_targets =
      device_output_of(d_targets_object, "match_backward: d_targets", targets.shape());
  const DeviceArray d_searches =
      device_output_of(d_searches_object, "match_backward: d_searches", searches.shape());
  const DeviceArray columns = columns_of(columns_object, "match_backward", shape);
  check_apart({&d_targets, &d_searches, &columns}, {&dy, &targets, &searches});
  const py::gil_scoped_release release;
  cuda::match_backward(shape, data_of(dy), input_of(targets), input_of(searches),
                       data_of(d_targets), data_of(d_searches), data_of(columns),
                       stream_of(stream));
}

py::tuple check_match(const py::object& targets_object, const py::object& searches_object,
                      std::int64_t cells, float scale) {
  const DeviceArray targets = device_contiguous_of(targets_object, "match: targets");
  const DeviceArray searches = device_contiguous_of(searches_object, "match: searches");
  return tuple_of(map_of(match_shape_of("match", targets, searches, cells, scale)));
}

void check_match_backward(const py::object& dy_object, const py::object& targets_object,
                          const py::object& searches_object, std::int64_t cells, float scale) {
  const DeviceArray dy = device_contiguous_of(dy_object, "match_backward: dy");
  const DeviceArray targets = device_contiguous_of(targets_object, "match_backward: targets");
  const DeviceArray searches = device_contiguous_of(searches_object, "match_backward: searches");
  check_match_gradient(dy, targets,
                       match_shape_of("match_backward", targets, searches, cells, scale));
}

}  // namespace

void bind_cuda_match(py::module_& module) {
  module.def("match", &match, py::arg("targets"), py::arg("searches"), py::arg("y"), py::kw_only(),
             py::arg("cells"), py::arg("scale"), py::arg("columns"), py::arg("stream"),
             "y (N, cells * cells): correlations of the cells of two feature maps (N, C * cells); "
             "columns (2, N, C + 1, cells) are written.");
  module.def("match_backward", &match_backward, py::arg("dy"), py::arg("targets"),
             py::arg("searches"), py::arg("d_targets"), py::arg("d_searches"), py::kw_only(),
             py::arg("cells"), py::arg("scale"), py::arg("columns"), py::arg("stream"),
             "d_targets and d_searches of match; columns (2, N, C + 1, cells) are written.");
  module.def("check_match", &check_match, py::arg("targets"), py::arg("searches"), py::kw_only(),
             py::arg("cells"), py::arg("scale"), "Checks the arguments; gives the result's shape.");
  module.def("check_match_backward", &check_match_backward, py::arg("dy"), py::arg("targets"),
             py::arg("searches"), py::kw_only(), py::arg("cells"), py::arg("scale"),
             "Checks the arguments.");
}

}  // namespace goturn::python
