// The match of two feature maps.

#include "arguments.h"
#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace goturn::python {
namespace {

py::array_t<float> match(const py::object& targets_object, const py::object& searches_object,
                         std::int64_t cells, float scale) {
  const py::array targets = contiguous_of<float>(targets_object, "match: targets");
  const py::array searches = contiguous_of<float>(searches_object, "match: searches");
  const MatchShape shape = match_shape_of("match", targets, searches, cells, scale);
  auto y = new_array<float>({targets.shape(0), py::ssize_t{cells * cells}});
  float* to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::match(shape, values_of(targets), values_of(searches), to);
  }
  return y;
}

py::tuple match_backward(const py::object& dy_object, const py::object& targets_object,
                         const py::object& searches_object, std::int64_t cells, float scale) {
  const py::array dy = contiguous_of<float>(dy_object, "match_backward: dy");
  const py::array targets = contiguous_of<float>(targets_object, "match_backward: targets");
  const py::array searches = contiguous_of<float>(searches_object, "match_backward: searches");
  const MatchShape shape = match_shape_of("match_backward", targets, searches, cells, scale);
  check_match_gradient(dy, targets, shape);
  py::array_t<float> d_targets(shape_of(targets));
  py::array_t<float> d_searches(shape_of(searches));
  float* to_targets = d_targets.mutable_data();
  float* to_searches = d_searches.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::match_backward(shape, values_of(dy), values_of(targets), values_of(searches), to_targets,
                        to_searches);
  }
  return py::make_tuple(d_targets, d_searches);
}

}  // namespace

void bind_match(py::module_& module) {
  module.def("match", &match, py::arg("targets"), py::arg("searches"), py::kw_only(),
             py::arg("cells"), py::arg("scale"),
             "Correlations (N, cells * cells) of the cells of two feature maps (N, C * cells).");
  module.def("match_backward", &match_backward, py::arg("dy"), py::arg("targets"),
             py::arg("searches"), py::kw_only(), py::arg("cells"), py::arg("scale"),
             "(d_targets, d_searches) of match.");
}

}  // namespace goturn::python
