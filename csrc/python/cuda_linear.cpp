// The fc layers on the GPU: x (N, in), weight (out, in) of any dtype, rows of both may lie apart.

#include "arguments.h"
#include "cuda/ops.h"
#include "device_arrays.h"
#include "launches.h"
#include "modules.h"

namespace goturn::python {
namespace {

// A weight of float32, float16, bfloat16 bits or int8.
DeviceArray weight_of(const py::object& object, const std::string& name) {
  const std::string wanted = "float32, float16, uint16 (bfloat16) or int8";
  DeviceArray weight(object, name, wanted);
  if (!weight.holds<float>() && !weight.holds_half() && !weight.holds<std::uint16_t>() &&
      !weight.holds<std::int8_t>()) {
    refuse_type(weight, wanted);
  }
  check_rows(weight, name);
  return weight;
}

// Products of weights of `type` with float32: reduced ones are multiplied as what fits them.
cuda::Products linear_products_of(const std::string& op, const std::string& name, cuda::Type type) {
  // int8 is exact in bfloat16, and its products are those of 16 bits.
  return products_of(op, name, type == cuda::Type::i8 ? cuda::Type::bf16 : type);
}

std::size_t linear_workspace(const py::tuple& x_shape, const py::tuple& weight_shape,
                             const std::string& dtype, const std::string& products) {
  const LinearShape shape = linear_shape_of_sizes("linear", x_shape, weight_shape);
  const cuda::Type type = type_named("linear", dtype);
  return cuda::linear_workspace(shape, type, linear_products_of("linear", products, type));
}

// The scale of an int8 weight, and of no other.
std::optional<DeviceArray> scale_of(const py::object& object, const DeviceArray& weight) {
  auto scale = unless_none(object, "linear: scale", &device_contiguous_of<float>);
  if (scale.has_value() != weight.holds<std::int8_t>()) {
    throw std::invalid_argument("linear: a scale goes with weights of int8; got " +
                                std::string(scale ? "one" : "none") + " with weights of " +
                                weight.dtype());
  }
  if (scale) check_linear_scale(*scale, weight);
  return scale;
}

void linear(const py::object& x_object, const py::object& weight_object,
            const py::object& scale_object, const py::object& bias_object,
            const py::object& y_object, bool relu, const py::object& key_object, double ratio,
            const std::string& products_name, const py::object& workspace_object,
            const py::object& counters_object, std::uintptr_t stream) {
  const DeviceArray x = device_rows_of(x_object, "linear: x");
  const DeviceArray weight = weight_of(weight_object, "linear: weight");
  const auto bias = unless_none(bias_object, "linear: bias", &device_contiguous_of<float>);
  const LinearShape shape = linear_shape_of("linear", x, weight);
  const std::int64_t bias_stride = bias ? check_linear_bias(*bias, x, weight) : 0;
  const auto scale = scale_of(scale_object, weight);
  const DeviceArray y = device_output_of(y_object, "linear: y", {shape.batch, shape.outputs});
  const auto key = unless_none(key_object, "linear: key", &device_array_of<std::uint64_t>);
  check_ratio("linear", ratio);
  if (key) check_shape(*key, {1});
  const cuda::Dropout dropout{data_of<std::uint64_t>(key), threshold_of(ratio),
                              static_cast<float>(1 - ratio)};
  const cuda::Type type = type_of(weight);
  const cuda::Products products = linear_products_of("linear", products_name, type);
  const Scratch scratch("linear", workspace_object, counters_object,
                        cuda::linear_workspace(shape, type, products));
  check_apart({&y, pointer_to(scratch.workspace), &scratch.counters},
              {&x, &weight, pointer_to(scale), pointer_to(bias), pointer_to(key)});
  const cuda::LinearWeight values{type, weight.data(), data_of(scale)};
  const py::gil_scoped_release release;
  cuda::linear(shape, values, products, data_of(x), data_of(bias), bias_stride, relu,
               key ? &dropout : nullptr, data_of(y), scratch.memory(), scratch.counts(),
               stream_of(stream));
}

// `array` as bits of fewer bits than a float: float16, or uint16 for bfloat16.
void convert(const py::object& x_object, const py::object& y_object, std::uintptr_t stream) {
  const DeviceArray x = device_contiguous_of(x_object, "convert: x");
  const DeviceArray y = device_numbers_of(y_object, "convert: y");
  if (y.holds<float>()) refuse_type(y, "float16 or uint16 (bfloat16)");
  check_output(y, x.shape());
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::convert(x.size(), data_of(x), type_of(y), y.data(), stream_of(stream));
}

void to_int8(const py::object& weight_object, const py::object& values_object,
             const py::object& scale_object, std::uintptr_t stream) {
  const DeviceArray weight = device_rows_of(weight_object, "to_int8: weight");
  const auto values =
      device_output_of<std::int8_t>(values_object, "to_int8: values", weight.shape());
  const auto scale = device_output_of(scale_object, "to_int8: scale", {weight.shape(0)});
  check_apart({&values, &scale}, {&weight});
  const LinearShape shape{0, weight.shape(1), weight.shape(0), 0, row_stride(weight)};
  const py::gil_scoped_release release;
  cuda::to_int8(shape, data_of(weight), data_of<std::int8_t>(values), data_of(scale),
                stream_of(stream));
}

}  // namespace

void bind_cuda_linear(py::module_& module) {
  module.def("linear_workspace", &linear_workspace, py::arg("x"), py::arg("weight"), py::kw_only(),
             py::arg("dtype"), py::arg("products"),
             "Bytes of workspace, for shapes of x and weight; dtype is that of the weight.");
  module.def("linear", &linear, py::arg("x"), py::arg("weight"), py::arg("scale"), py::arg("bias"),
             py::arg("y"), py::kw_only(), py::arg("relu"), py::arg("key") = py::none(),
             py::arg("ratio") = 0, py::arg("products"), py::arg("workspace"), py::arg("counters"),
             py::arg("stream"),
             "y (N, out) = dropout(relu(x weight.T + bias)); no dropout where key is None.");
  module.def("convert", &convert, py::arg("x"), py::arg("y"), py::kw_only(), py::arg("stream"),
             "y, float16 or the bits of bfloat16 (uint16), nearest to float32 x; ties to even.");
  module.def("to_int8", &to_int8, py::arg("weight"), py::arg("values"), py::arg("scale"),
             py::kw_only(), py::arg("stream"),
             "A matrix (out, in) as int8 values and a scale for each row, (out,).");
}

}  // namespace goturn::python
