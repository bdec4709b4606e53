#include "arguments.h"
#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace goturn::python {
namespace {

// The arguments of linear, checked; holds on to the arrays.
template <class Weight>
struct LinearArguments {
  LinearArguments(const py::object& x_object, const py::object& weight_object,
                  const py::object& bias_object)
      : x(rows_of<float>(x_object, "linear: x")),
        weight(rows_of<Weight>(weight_object, "linear: weight")) {
    shape = linear_shape_of("linear", x, weight);
    y = py::array_t<float>({x.shape(0), weight.shape(0)});
    if (bias_object.is_none()) return;
    bias = contiguous_of<float>(bias_object, "linear: bias");
    bias_stride = check_linear_bias(bias, x, weight);
    bias_values = static_cast<const float*>(bias.data());
  }

  const float* x_values() const { return static_cast<const float*>(x.data()); }
  const Weight* weight_values() const { return static_cast<const Weight*>(weight.data()); }

  py::array x;
  py::array weight;
  py::array bias;
  LinearShape shape{};
  const float* bias_values = nullptr;
  std::int64_t bias_stride = 0;
  py::array_t<float> y;
};

py::array_t<float> linear(const py::object& x, const py::object& weight, const py::object& bias,
                          bool relu) {
  LinearArguments<float> given(x, weight, bias);
  float* y = given.y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::linear(given.shape, given.x_values(), given.weight_values(), given.bias_values,
                given.bias_stride, relu, y);
  }
  return given.y;
}

py::array_t<float> linear_bf16(const py::object& x, const py::object& weight,
                               const py::object& bias, bool relu) {
  LinearArguments<std::uint16_t> given(x, weight, bias);
  float* y = given.y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::linear_bf16(given.shape, given.x_values(), given.weight_values(), given.bias_values,
                     given.bias_stride, relu, y);
  }
  return given.y;
}

py::array_t<float> linear_int8(const py::object& x, const py::object& weight,
                               const py::object& scale_object, const py::object& bias, bool relu) {
  LinearArguments<std::int8_t> given(x, weight, bias);
  const py::array scale = contiguous_of<float>(scale_object, "linear: scale");
  check_linear_scale(scale, given.weight);
  float* y = given.y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::linear_int8(given.shape, given.x_values(), given.weight_values(),
                     static_cast<const float*>(scale.data()), given.bias_values, given.bias_stride,
                     relu, y);
  }
  return given.y;
}

LinearShape weight_shape(const py::array& weight) {
  return {0, weight.shape(1), weight.shape(0), 0, row_stride(weight)};
}

py::array_t<std::uint16_t> to_bf16(const py::object& object) {
  const py::array weight = rows_of<float>(object, "compress: weight");
  py::array_t<std::uint16_t> values({weight.shape(0), weight.shape(1)});
  std::uint16_t* to = values.mutable_data();
  const LinearShape shape = weight_shape(weight);
  const auto* from = static_cast<const float*>(weight.data());
  {
    const py::gil_scoped_release release;
    cpu::to_bf16(shape, from, to);
  }
  return values;
}

py::tuple to_int8(const py::object& object) {
  const py::array weight = rows_of<float>(object, "compress: weight");
  py::array_t<std::int8_t> values({weight.shape(0), weight.shape(1)});
  py::array_t<float> scale(weight.shape(0));
  std::int8_t* to = values.mutable_data();
  float* scales = scale.mutable_data();
  const LinearShape shape = weight_shape(weight);
  const auto* from = static_cast<const float*>(weight.data());
  {
    const py::gil_scoped_release release;
    cpu::to_int8(shape, from, to, scales);
  }
  return py::make_tuple(values, scale);
}

}  // namespace

void bind_linear(py::module_& module) {
  module.def("linear", &linear, py::arg("x"), py::arg("weight"), py::arg("bias"), py::kw_only(),
             py::arg("relu"),
             "x (N, in) times weight (out, in) transposed, plus bias (out,) or (N, out) or None.");
  module.def("linear_bf16", &linear_bf16, py::arg("x"), py::arg("weight"), py::arg("bias"),
             py::kw_only(), py::arg("relu"), "linear with the bits of bfloat16 weights (uint16).");
  module.def("linear_int8", &linear_int8, py::arg("x"), py::arg("weight"), py::arg("scale"),
             py::arg("bias"), py::kw_only(), py::arg("relu"),
             "linear with int8 weights, each row times its scale (out,).");
  module.def("to_bf16", &to_bf16, py::arg("weight"),
             "The nearest bfloat16 of each value of a matrix, ties to even, as bits (uint16).");
  module.def("to_int8", &to_int8, py::arg("weight"),
             "A matrix (out, in) as int8 values and a scale for each row, (out,).");
}

}  // namespace goturn::python
