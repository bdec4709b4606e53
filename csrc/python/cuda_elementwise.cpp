// ReLU, dropout and the losses on the GPU.

#include "arguments.h"
#include "cuda/ops.h"
#include "device_arrays.h"
#include "modules.h"

namespace goturn::python {
namespace {

void relu(const py::object& x_object, const py::object& y_object, std::uintptr_t stream) {
  const DeviceArray x = device_contiguous_of(x_object, "relu: x");
  const DeviceArray y = device_output_of(y_object, "relu: y", x.shape());
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::relu(x.size(), data_of(x), data_of(y), stream_of(stream));
}

void relu_backward(const py::object& dy_object, const py::object& y_object,
                   const py::object& dx_object, std::uintptr_t stream) {
  const DeviceArray dy = device_contiguous_of(dy_object, "relu_backward: dy");
  const DeviceArray y = device_contiguous_of(y_object, "relu_backward: y");
  check_one_shape("relu_backward", {{"dy", dy}, {"y", y}});
  const DeviceArray dx = device_output_of(dx_object, "relu_backward: dx", dy.shape());
  check_apart({&dx}, {&dy, &y});
  const py::gil_scoped_release release;
  cuda::relu_backward(dy.size(), data_of(dy), data_of(y), data_of(dx), stream_of(stream));
}

void dropout_mask(const py::object& mask_object, const py::object& key_object, double ratio,
                  std::uintptr_t stream) {
  const auto mask = device_array_of<std::uint8_t>(mask_object, "dropout_mask: mask");
  const auto key = device_array_of<std::uint64_t>(key_object, "dropout_mask: key");
  check_ratio("dropout_mask", ratio);
  check_output(mask, mask.shape());
  check_shape(key, {1});
  check_apart({&mask}, {&key});
  const py::gil_scoped_release release;
  cuda::dropout_mask(mask.size(), threshold_of(ratio), data_of<std::uint64_t>(key),
                     data_of<std::uint8_t>(mask), stream_of(stream));
}

void dropout(const py::object& x_object, const py::object& mask_object, const py::object& y_object,
             double ratio, std::uintptr_t stream) {
  const DeviceArray x = device_contiguous_of(x_object, "dropout: x");
  const auto mask = device_contiguous_of<std::uint8_t>(mask_object, "dropout: mask");
  check_ratio("dropout", ratio);
  check_one_shape("dropout", {{"mask", mask}, {"x", x}});
  const DeviceArray y = device_output_of(y_object, "dropout: y", x.shape());
  check_apart({&y}, {&x, &mask});
  const py::gil_scoped_release release;
  cuda::dropout(x.size(), data_of(x), data_of<std::uint8_t>(mask), static_cast<float>(1 - ratio),
                data_of(y), stream_of(stream));
}

using Loss = void (*)(std::int64_t, const float*, const float*, float*, double*, cuda::Stream);

template <Loss run>
void loss(const std::string& op, const py::object& prediction_object,
          const py::object& label_object, const py::object& gradient_object,
          const py::object& value_object, std::uintptr_t stream) {
  const DeviceArray prediction = device_contiguous_of(prediction_object, op + ": prediction");
  const DeviceArray label = device_contiguous_of(label_object, op + ": label");
  check_one_shape(op, {{"prediction", prediction}, {"label", label}});
  const DeviceArray gradient =
      device_output_of(gradient_object, op + ": gradient", prediction.shape());
  const auto value = device_output_of<double>(value_object, op + ": value", {1});
  check_apart({&gradient, &value}, {&prediction, &label});
  const py::gil_scoped_release release;
  run(prediction.size(), data_of(prediction), data_of(label), data_of(gradient),
      data_of<double>(value), stream_of(stream));
}

template <Loss run>
void bind_loss(py::module_& module, const char* name) {
  const std::string op = name;
  module.def(
      name,
      [op](const py::object& prediction, const py::object& label, const py::object& gradient,
           const py::object& value,
           std::uintptr_t stream) { loss<run>(op, prediction, label, gradient, value, stream); },
      py::arg("prediction"), py::arg("label"), py::arg("gradient"), py::arg("value"), py::kw_only(),
      py::arg("stream"), "The loss goes to value (1,) float64.");
}

}  // namespace

void bind_cuda_elementwise(py::module_& module) {
  module.def("relu", &relu, py::arg("x"), py::arg("y"), py::kw_only(), py::arg("stream"),
             "y = max(x, 0).");
  module.def("relu_backward", &relu_backward, py::arg("dy"), py::arg("y"), py::arg("dx"),
             py::kw_only(), py::arg("stream"), "dx = dy where y is positive, else 0.");
  module.def("dropout_mask", &dropout_mask, py::arg("mask"), py::arg("key"), py::kw_only(),
             py::arg("ratio"), py::arg("stream"),
             "mask, uint8, 1 where a value is kept; key (1,) uint64.");
  module.def("dropout", &dropout, py::arg("x"), py::arg("mask"), py::arg("y"), py::kw_only(),
             py::arg("ratio"), py::arg("stream"), "y = x * mask / (1 - ratio).");
  bind_loss<&cuda::l1_loss>(module, "l1_loss");
  bind_loss<&cuda::l2_loss>(module, "l2_loss");
}

}  // namespace goturn::python
