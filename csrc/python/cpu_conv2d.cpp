#include "arguments.h"
#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace goturn::python {
namespace {

py::array_t<float> conv2d(const py::object& x_object, const py::object& weight_object,
                          const py::object& bias_object, std::int64_t stride, std::int64_t pad,
                          std::int64_t groups, bool relu) {
  const py::array x = contiguous_of<float>(x_object, "conv2d: x");
  const py::array weight = contiguous_of<float>(weight_object, "conv2d: weight");
  const py::array bias = contiguous_of<float>(bias_object, "conv2d: bias");
  const ConvShape shape = conv_shape_of(x, weight, stride, pad, groups);
  check_conv_bias(bias, weight);
  auto y = new_array<float>(output_of(shape));
  float* to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::conv2d(shape, values_of(x), values_of(weight), values_of(bias), relu, to);
  }
  return y;
}

py::tuple conv2d_backward(const py::object& dy_object, const py::object& x_object,
                          const py::object& weight_object, std::int64_t stride, std::int64_t pad,
                          std::int64_t groups, bool need_dx) {
  const py::array dy = contiguous_of<float>(dy_object, "conv2d_backward: dy");
  const py::array x = contiguous_of<float>(x_object, "conv2d_backward: x");
  const py::array weight = contiguous_of<float>(weight_object, "conv2d_backward: weight");
  const ConvShape shape = conv_shape_of(x, weight, stride, pad, groups);
  check_conv_gradient(dy, x, weight, shape);
  py::array_t<float> dx(need_dx ? shape_of(x) : std::vector<py::ssize_t>{0});
  py::array_t<float> dweight(shape_of(weight));
  py::array_t<float> dbias(shape.outputs);
  float* to = need_dx ? dx.mutable_data() : nullptr;
  float* to_weight = dweight.mutable_data();
  float* to_bias = dbias.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::conv2d_backward(shape, values_of(dy), values_of(x), values_of(weight), to, to_weight,
                         to_bias);
  }
  return py::make_tuple(need_dx ? py::object(dx) : py::none(), dweight, dbias);
}

}  // namespace

void bind_conv2d(py::module_& module) {
  module.def("conv2d", &conv2d, py::arg("x"), py::arg("weight"), py::arg("bias"), py::kw_only(),
             py::arg("stride"), py::arg("pad"), py::arg("groups"), py::arg("relu"),
             "x (N, C, H, W) by weight (K, C / groups, R, S), plus bias (K,).");
  module.def("conv2d_backward", &conv2d_backward, py::arg("dy"), py::arg("x"), py::arg("weight"),
             py::kw_only(), py::arg("stride"), py::arg("pad"), py::arg("groups"),
             py::arg("need_dx"), "Gradients (dx or None, dweight, dbias) of conv2d.");
}

}  // namespace goturn::python
