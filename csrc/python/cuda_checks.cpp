// The arguments of the operations as Python has them, float32 and (N, C, H, W), checked before
// results are allocated and layouts changed: in the words of the CPU's operations, since the same
// mistake must read the same on every device.

#include "arguments.h"
#include "device_arrays.h"
#include "modules.h"

namespace goturn::python {
namespace {

py::tuple check_conv2d(const py::object& x_object, const py::object& weight_object,
                       const py::object& bias_object, std::int64_t stride, std::int64_t pad,
                       std::int64_t groups) {
  const DeviceArray x = device_contiguous_of(x_object, "conv2d: x");
  const DeviceArray weight = device_contiguous_of(weight_object, "conv2d: weight");
  const DeviceArray bias = device_contiguous_of(bias_object, "conv2d: bias");
  const ConvShape shape = conv_shape_of(x, weight, stride, pad, groups);
  check_conv_bias(bias, weight);
  return tuple_of(output_of(shape));
}

void check_conv2d_backward(const py::object& dy_object, const py::object& x_object,
                           const py::object& weight_object, std::int64_t stride, std::int64_t pad,
                           std::int64_t groups) {
  const DeviceArray dy = device_contiguous_of(dy_object, "conv2d_backward: dy");
  const DeviceArray x = device_contiguous_of(x_object, "conv2d_backward: x");
  const DeviceArray weight = device_contiguous_of(weight_object, "conv2d_backward: weight");
  check_conv_gradient(dy, x, weight, conv_shape_of(x, weight, stride, pad, groups));
}

py::tuple check_max_pool(const py::object& x_object, std::int64_t kernel, std::int64_t stride,
                         std::int64_t pad) {
  const DeviceArray x = device_contiguous_of(x_object, "max_pool: x");
  return tuple_of(output_of(pool_shape_of(x, kernel, stride, pad)));
}

void check_max_pool_backward(const py::object& dy_object, const py::object& x_object,
                             std::int64_t kernel, std::int64_t stride, std::int64_t pad) {
  const DeviceArray dy = device_contiguous_of(dy_object, "max_pool_backward: dy");
  const DeviceArray x = device_contiguous_of(x_object, "max_pool_backward: x");
  check_pool_gradient(dy, x, pool_shape_of(x, kernel, stride, pad));
}

void check_lrn(const py::object& x_object, std::int64_t size) {
  lrn_shape_of(device_contiguous_of(x_object, "lrn: x"), size, 1, 1, 1);
}

void check_lrn_backward(const py::object& dy_object, const py::object& x_object,
                        std::int64_t size) {
  const DeviceArray dy = device_contiguous_of(dy_object, "lrn_backward: dy");
  const DeviceArray x = device_contiguous_of(x_object, "lrn_backward: x");
  lrn_shape_of(x, size, 1, 1, 1);
  check_one_shape("lrn_backward", {{"dy", dy}, {"x", x}});
}

py::tuple check_linear(const py::object& x_object, const py::object& weight_object,
                       const py::object& bias_object, const std::string& dtype) {
  const DeviceArray x = device_rows_of(x_object, "linear: x");
  const DeviceArray weight(weight_object, "linear: weight", dtype);
  if (weight.dtype() != dtype) refuse_type(weight, dtype);
  check_rows(weight, weight.name());
  const LinearShape shape = linear_shape_of("linear", x, weight);
  if (!bias_object.is_none()) {
    check_linear_bias(device_contiguous_of(bias_object, "linear: bias"), x, weight);
  }
  return tuple_of({shape.batch, shape.outputs});
}

void check_linear_backward(const py::object& dy_object, const py::object& x_object,
                           const py::object& weight_object) {
  const DeviceArray dy = device_rows_of(dy_object, "linear_backward: dy");
  const DeviceArray x = device_rows_of(x_object, "linear_backward: x");
  const DeviceArray weight = device_rows_of(weight_object, "linear_backward: weight");
  linear_shape_of("linear_backward", dy, x, weight);
}

// Arrays of any one shape: float32, and uint8 where it is a mask.
py::tuple check_one_shape_of(const std::string& op, const py::kwargs& arrays) {
  std::vector<py::ssize_t> shape;
  std::string given;
  bool same = true;
  for (const auto& [key, value] : arrays) {
    const auto name = key.cast<std::string>();
    const auto object = py::reinterpret_borrow<py::object>(value);
    const DeviceArray array = name == "mask"
                                  ? device_contiguous_of<std::uint8_t>(object, op + ": " + name)
                                  : device_contiguous_of(object, op + ": " + name);
    if (given.empty()) shape = array.shape();
    same = same && array.shape() == shape;
    given += (given.empty() ? "" : ", ") + name + " " + shape_text(array);
  }
  if (!same) throw std::invalid_argument(op + ": arrays must have one shape; got " + given);
  return tuple_of(shape);
}

py::tuple check_dropout_mask(const py::tuple& shape, double ratio, const py::object& key) {
  check_ratio("dropout_mask", ratio);
  key_of(key);
  return tuple_of(sizes_of(shape, "dropout_mask"));
}

void check_crop_resize(std::int64_t size, const py::sequence& mean,
                       const std::string& colour_order) {
  crop_resize_parameters_of(size, mean, colour_order);
}

}  // namespace

void bind_cuda_checks(py::module_& module) {
  const char* doc =
      "Checks the arguments (N, C, H, W); gives the shape of the result, if it is new.";
  module.def("check_conv2d", &check_conv2d, py::arg("x"), py::arg("weight"), py::arg("bias"),
             py::kw_only(), py::arg("stride"), py::arg("pad"), py::arg("groups"), doc);
  module.def("check_conv2d_backward", &check_conv2d_backward, py::arg("dy"), py::arg("x"),
             py::arg("weight"), py::kw_only(), py::arg("stride"), py::arg("pad"), py::arg("groups"),
             doc);
  module.def("check_max_pool", &check_max_pool, py::arg("x"), py::kw_only(), py::arg("kernel"),
             py::arg("stride"), py::arg("pad"), doc);
  module.def("check_max_pool_backward", &check_max_pool_backward, py::arg("dy"), py::arg("x"),
             py::kw_only(), py::arg("kernel"), py::arg("stride"), py::arg("pad"), doc);
  module.def("check_lrn", &check_lrn, py::arg("x"), py::kw_only(), py::arg("size"), doc);
  module.def("check_lrn_backward", &check_lrn_backward, py::arg("dy"), py::arg("x"), py::kw_only(),
             py::arg("size"), doc);
  module.def("check_linear", &check_linear, py::arg("x"), py::arg("weight"), py::arg("bias"),
             py::kw_only(), py::arg("dtype"), doc);
  module.def("check_linear_backward", &check_linear_backward, py::arg("dy"), py::arg("x"),
             py::arg("weight"), doc);
  module.def("check_one_shape", &check_one_shape_of, py::arg("op"),
             "Checks that the arrays given by name are of one shape, and gives it.");
  module.def("check_ratio", &check_ratio, py::arg("op"), py::arg("ratio"), doc);
  module.def("check_crop_resize", &check_crop_resize, py::kw_only(), py::arg("size"),
             py::arg("mean"), py::arg("colour_order"), doc);
  module.def("check_dropout_mask", &check_dropout_mask, py::arg("shape"), py::kw_only(),
             py::arg("ratio"), py::arg("key"), doc);
}

}  // namespace goturn::python
