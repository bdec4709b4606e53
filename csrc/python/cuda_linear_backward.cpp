// The fc layers in training on the GPU.

#include "arguments.h"
#include "cuda/ops.h"
#include "device_arrays.h"
#include "launches.h"
#include "modules.h"

namespace goturn::python {
namespace {

std::size_t linear_backward_data_workspace(const py::tuple& x_shape, const py::tuple& weight_shape,
                                           const std::string& products) {
  const std::string op = "linear_backward_data";
  return cuda::linear_backward_data_workspace(linear_shape_of_sizes(op, x_shape, weight_shape),
                                              products_of(op, products, cuda::Type::f32));
}

void linear_backward_data(const py::object& dy_object, const py::object& weight_object,
                          const py::object& gate_object, const py::object& dx_object,
                          float gate_factor, const std::string& products_name,
                          const py::object& workspace_object, const py::object& counters_object,
                          std::uintptr_t stream) {
  const std::string op = "linear_backward_data";
  const DeviceArray dy = device_rows_of(dy_object, op + ": dy");
  const DeviceArray weight = device_rows_of(weight_object, op + ": weight");
  const auto gate = unless_none(gate_object, op + ": gate", &device_contiguous_of<float>);
  const DeviceArray dx = device_contiguous_of(dx_object, op + ": dx");
  check_rows(dx, dx.name());  // two dimensions
  const LinearShape shape = linear_shape_of(op, dy, dx, weight);
  check_output(dx, dx.shape());
  if (gate) check_shape(*gate, dx.shape());
  const cuda::Products products = products_of(op, products_name, cuda::Type::f32);
  const Scratch scratch(op, workspace_object, counters_object,
                        cuda::linear_backward_data_workspace(shape, products));
  check_apart({&dx, pointer_to(scratch.workspace), &scratch.counters},
              {&dy, &weight, pointer_to(gate)});
  const py::gil_scoped_release release;
  cuda::linear_backward_data(shape, products, data_of(dy), row_stride(dy), data_of(weight),
                             data_of(gate), gate_factor, data_of(dx), scratch.memory(),
                             scratch.counts(), stream_of(stream));
}

void linear_backward_weight(const py::object& dy_object, const py::object& x_object,
                            const py::object& dweight_object, const py::object& dbias_object,
                            std::uintptr_t stream) {
  const std::string op = "linear_backward_weight";
  const DeviceArray dy = device_rows_of(dy_object, op + ": dy");
  const DeviceArray x = device_rows_of(x_object, op + ": x");
  check_gradient(op, dy, "x " + shape_text(x), {x.shape(0), dy.shape(1)});
  const LinearShape shape{x.shape(0), x.shape(1), dy.shape(1), row_stride(x), x.shape(1)};
  const auto dweight = unless_none(dweight_object, op + ": dweight", &device_array_of<float>);
  if (dweight) check_output(*dweight, {shape.outputs, shape.inputs});
  const DeviceArray dbias = device_output_of(dbias_object, op + ": dbias", {shape.outputs});
  check_apart({&dbias, pointer_to(dweight)}, {&dy, &x});
  const py::gil_scoped_release release;
  cuda::linear_backward_weight(shape, data_of(dy), row_stride(dy), data_of(x), data_of(dweight),
                               data_of(dbias), stream_of(stream));
}

// Rate, momentum and decay, three floats in device memory.
const SgdRates* rates_of(const DeviceArray& array) {
  static_assert(sizeof(SgdRates) == 3 * sizeof(float));
  check_contiguous(array);
  check_shape(array, {3});
  return static_cast<const SgdRates*>(array.data());
}

void linear_sgd_update(const py::object& dy_object, const py::object& x_object,
                       const py::object& weight_object, const py::object& velocity_object,
                       const py::object& rates_object, const py::object& bias_object,
                       const py::object& bias_velocity_object, const py::object& bias_rates_object,
                       std::uintptr_t stream) {
  const std::string op = "linear_sgd_update";
  const DeviceArray dy = device_rows_of(dy_object, op + ": dy");
  const DeviceArray x = device_rows_of(x_object, op + ": x");
  const DeviceArray weight = device_changed_of(weight_object, op + ": weight");
  const DeviceArray velocity = device_changed_of(velocity_object, op + ": velocity");
  check_one_shape(op, {{"weight", weight}, {"velocity", velocity}});
  check_rows(weight, weight.name());  // two dimensions
  const LinearShape shape = linear_shape_of(op, dy, x, weight);
  const DeviceArray rates = device_array_of(rates_object, op + ": rates");
  const auto bias = unless_none(bias_object, op + ": bias", &device_changed_of);
  const auto bias_velocity =
      unless_none(bias_velocity_object, op + ": bias_velocity", &device_changed_of);
  const auto bias_rates =
      unless_none(bias_rates_object, op + ": bias_rates", &device_array_of<float>);
  if (bias.has_value() != bias_velocity.has_value() || bias.has_value() != bias_rates.has_value()) {
    throw std::invalid_argument(op + ": bias, bias_velocity and bias_rates go together");
  }
  if (bias) {
    check_shape(*bias, {shape.outputs});
    check_shape(*bias_velocity, {shape.outputs});
  }
  check_apart({&weight, &velocity, pointer_to(bias), pointer_to(bias_velocity)},
              {&dy, &x, &rates, pointer_to(bias_rates)});
  const SgdRates* weight_values = rates_of(rates);
  const SgdRates* bias_values = bias_rates ? rates_of(*bias_rates) : nullptr;
  const py::gil_scoped_release release;
  cuda::linear_sgd_update(shape, data_of(dy), row_stride(dy), data_of(x), weight_values,
                          data_of(weight), data_of(velocity), bias_values, data_of(bias),
                          data_of(bias_velocity), stream_of(stream));
}

void sgd_update(const py::object& weight_object, const py::object& gradient_object,
                const py::object& velocity_object, const py::object& rates_object,
                std::uintptr_t stream) {
  const DeviceArray weight = device_changed_of(weight_object, "sgd_update: weight");
  const DeviceArray gradient = device_contiguous_of(gradient_object, "sgd_update: gradient");
  const DeviceArray velocity = device_changed_of(velocity_object, "sgd_update: velocity");
  check_one_shape("sgd_update",
                  {{"weight", weight}, {"gradient", gradient}, {"velocity", velocity}});
  const DeviceArray rates = device_array_of(rates_object, "sgd_update: rates");
  check_apart({&weight, &velocity}, {&gradient, &rates});
  const SgdRates* values = rates_of(rates);
  const py::gil_scoped_release release;
  cuda::sgd_update(weight.size(), values, data_of(gradient), data_of(weight), data_of(velocity),
                   stream_of(stream));
}

void adam_update(const py::object& weight_object, const py::object& gradient_object,
                 const py::object& velocity_object, const py::object& square_object,
                 const py::object& rates_object, std::uintptr_t stream) {
  const DeviceArray weight = device_changed_of(weight_object, "adam_update: weight");
  const DeviceArray gradient = device_contiguous_of(gradient_object, "adam_update: gradient");
  const DeviceArray velocity = device_changed_of(velocity_object, "adam_update: velocity");
  const DeviceArray square = device_changed_of(square_object, "adam_update: square");
  check_one_shape(
      "adam_update",
      {{"weight", weight}, {"gradient", gradient}, {"velocity", velocity}, {"square", square}});
  const DeviceArray rates = device_array_of(rates_object, "adam_update: rates");
  static_assert(sizeof(AdamRates) == 8 * sizeof(float));
  check_contiguous(rates);
  check_shape(rates, {8});
  check_apart({&weight, &velocity, &square}, {&gradient, &rates});
  const auto* values = static_cast<const AdamRates*>(rates.data());
  const py::gil_scoped_release release;
  cuda::adam_update(weight.size(), values, data_of(gradient), data_of(weight), data_of(velocity),
                    data_of(square), stream_of(stream));
}

}  // namespace

void bind_cuda_linear_backward(py::module_& module) {
  module.def("linear_backward_data_workspace", &linear_backward_data_workspace, py::arg("x"),
             py::arg("weight"), py::kw_only(), py::arg("products"),
             "Bytes of workspace, for shapes of x and weight.");
  module.def("linear_backward_data", &linear_backward_data, py::arg("dy"), py::arg("weight"),
             py::arg("gate"), py::arg("dx"), py::kw_only(), py::arg("gate_factor"),
             py::arg("products"), py::arg("workspace"), py::arg("counters"), py::arg("stream"),
             "dx (N, in) = dy weight; times gate_factor where gate (N, in) > 0, else 0, unless "
             "gate is None.");
  module.def("linear_backward_weight", &linear_backward_weight, py::arg("dy"), py::arg("x"),
             py::arg("dweight"), py::arg("dbias"), py::kw_only(), py::arg("stream"),
             "dweight (out, in), or None, and dbias (out,) of linear.");
  module.def("linear_sgd_update", &linear_sgd_update, py::arg("dy"), py::arg("x"),
             py::arg("weight"), py::arg("velocity"), py::arg("rates"), py::arg("bias"),
             py::arg("bias_velocity"), py::arg("bias_rates"), py::kw_only(), py::arg("stream"),
             "sgd_update of weight with the gradient dy.T x, and of bias, unless None, with the "
             "column sums of dy.");
  module.def("sgd_update", &sgd_update, py::arg("weight"), py::arg("gradient"), py::arg("velocity"),
             py::arg("rates"), py::kw_only(), py::arg("stream"),
             "v = momentum v + rate (gradient + decay w); w = w - v, in place; rates (3,): rate, "
             "momentum, decay.");
  module.def(
      "adam_update", &adam_update, py::arg("weight"), py::arg("gradient"), py::arg("velocity"),
      py::arg("square"), py::arg("rates"), py::kw_only(), py::arg("stream"),
      "v = momentum v + fresh gradient; s = squares s + fresh_squares gradient^2; "
      "w = w - step v / (root sqrt(s) + epsilon) - shrink w, in place; rates (8,): momentum, "
      "fresh, squares, fresh_squares, step, root, shrink, epsilon.");
}

}  // namespace goturn::python
