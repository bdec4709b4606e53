#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace goturn::python {
namespace {

// A float32 matrix whose rows may lie apart (a column slice), as NumPy's strides say.
py::array rows_of(const py::object& object, const std::string& name) {
  const py::array array = array_of<float>(object, name);
  if (array.ndim() != 2 || (array.shape(1) > 1 && array.strides(1) != sizeof(float)) ||
      array.strides(0) % static_cast<py::ssize_t>(sizeof(float)) != 0 || array.strides(0) < 0) {
    throw std::invalid_argument(name + " must be a matrix of contiguous rows; got shape " +
                                shape_text(array));
  }
  return array;
}

py::array_t<float> linear(const py::object& x_object, const py::object& weight_object,
                          const py::object& bias_object, bool relu) {
  const py::array x = rows_of(x_object, "linear: x");
  const py::array weight = rows_of(weight_object, "linear: weight");
  if (x.shape(1) != weight.shape(1)) {
    throw std::invalid_argument(
        "linear: x (N, in) and weight (out, in) must agree in their second dimension; got shapes " +
        shape_text(x) + " and " + shape_text(weight));
  }
  LinearShape shape{x.shape(0), x.shape(1), weight.shape(0),
                    x.strides(0) / static_cast<py::ssize_t>(sizeof(float)),
                    weight.strides(0) / static_cast<py::ssize_t>(sizeof(float))};
  const float* bias = nullptr;
  std::int64_t bias_stride = 0;
  py::array bias_array;
  if (!bias_object.is_none()) {
    bias_array = contiguous_of<float>(bias_object, "linear: bias");
    const bool one = bias_array.ndim() == 1 && bias_array.shape(0) == weight.shape(0);
    const bool each = bias_array.ndim() == 2 && bias_array.shape(0) == x.shape(0) &&
                      bias_array.shape(1) == weight.shape(0);
    if (!one && !each) {
      throw std::invalid_argument(
          "linear: bias has shape " + shape_text(bias_array) + ", x " + shape_text(x) +
          " and weight " + shape_text(weight) + " need (" + std::to_string(weight.shape(0)) +
          ",) or (" + std::to_string(x.shape(0)) + ", " + std::to_string(weight.shape(0)) + ")");
    }
    bias = static_cast<const float*>(bias_array.data());
    bias_stride = each ? weight.shape(0) : 0;
  }
  py::array_t<float> y({x.shape(0), weight.shape(0)});
  const auto* from = static_cast<const float*>(x.data());
  const auto* matrix = static_cast<const float*>(weight.data());
  float* to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::linear(shape, from, matrix, bias, bias_stride, relu, to);
  }
  return y;
}

}  // namespace

void bind_linear(py::module_& module) {
  module.def("linear", &linear, py::arg("x"), py::arg("weight"), py::arg("bias"), py::kw_only(),
             py::arg("relu"),
             "x (N, in) times weight (out, in) transposed, plus bias (out,) or (N, out) or None.");
}

}  // namespace goturn::python
