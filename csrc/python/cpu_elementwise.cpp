// ReLU, dropout, the losses and the solver's step: arrays of any shape.

#include "arguments.h"
#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace goturn::python {
namespace {

py::array_t<float> relu(const py::object& object) {
  const py::array x = contiguous_of<float>(object, "relu: x");
  py::array_t<float> y(shape_of(x));
  float* to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::relu(x.size(), values_of(x), to);
  }
  return y;
}

py::array_t<float> relu_backward(const py::object& dy_object, const py::object& y_object) {
  const py::array dy = contiguous_of<float>(dy_object, "relu_backward: dy");
  const py::array y = contiguous_of<float>(y_object, "relu_backward: y");
  check_one_shape("relu_backward", {{"dy", dy}, {"y", y}});
  py::array_t<float> dx(shape_of(dy));
  float* to = dx.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::relu_backward(dy.size(), values_of(dy), values_of(y), to);
  }
  return dx;
}

py::array_t<std::uint8_t> dropout_mask(const py::tuple& shape, double ratio,
                                       const py::object& key_object) {
  check_ratio("dropout_mask", ratio);
  const std::uint64_t key = key_of(key_object);
  auto mask = new_array<std::uint8_t>(sizes_of(shape, "dropout_mask"));
  const std::uint64_t threshold = threshold_of(ratio);
  std::uint8_t* to = mask.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::dropout_mask(mask.size(), threshold, key, to);
  }
  return mask;
}

py::array_t<float> dropout(const py::object& x_object, const py::object& mask_object,
                           double ratio) {
  const py::array x = contiguous_of<float>(x_object, "dropout: x");
  const py::array mask = contiguous_of<std::uint8_t>(mask_object, "dropout: mask");
  check_ratio("dropout", ratio);
  check_one_shape("dropout", {{"mask", mask}, {"x", x}});
  py::array_t<float> y(shape_of(x));
  const auto* keeps = static_cast<const std::uint8_t*>(mask.data());
  float* to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::dropout(x.size(), values_of(x), keeps, static_cast<float>(1 - ratio), to);
  }
  return y;
}

using Loss = double (*)(std::int64_t, const float*, const float*, float*);

py::tuple loss(const std::string& op, Loss run, const py::object& prediction_object,
               const py::object& label_object) {
  const py::array prediction = contiguous_of<float>(prediction_object, op + ": prediction");
  const py::array label = contiguous_of<float>(label_object, op + ": label");
  check_one_shape(op, {{"prediction", prediction}, {"label", label}});
  py::array_t<float> gradient(shape_of(prediction));
  float* to = gradient.mutable_data();
  double value = 0;
  {
    const py::gil_scoped_release release;
    value = run(prediction.size(), values_of(prediction), values_of(label), to);
  }
  return py::make_tuple(value, gradient);
}

py::tuple l1_loss(const py::object& prediction, const py::object& label) {
  return loss("l1_loss", &cpu::l1_loss, prediction, label);
}

py::tuple l2_loss(const py::object& prediction, const py::object& label) {
  return loss("l2_loss", &cpu::l2_loss, prediction, label);
}

void sgd_update(const py::object& weight_object, const py::object& gradient_object,
                const py::object& velocity_object, float rate, float momentum, float decay) {
  py::array weight = changed_of(weight_object, "sgd_update: weight");
  const py::array gradient = contiguous_of<float>(gradient_object, "sgd_update: gradient");
  py::array velocity = changed_of(velocity_object, "sgd_update: velocity");
  check_one_shape("sgd_update",
                  {{"weight", weight}, {"gradient", gradient}, {"velocity", velocity}});
  auto* w = static_cast<float*>(weight.mutable_data());
  auto* v = static_cast<float*>(velocity.mutable_data());
  const py::gil_scoped_release release;
  cpu::sgd_update(weight.size(), {rate, momentum, decay}, values_of(gradient), w, v);
}

void adam_update(const py::object& weight_object, const py::object& gradient_object,
                 const py::object& velocity_object, const py::object& square_object, float momentum,
                 float fresh, float squares, float fresh_squares, float step, float root,
                 float shrink, float epsilon) {
  py::array weight = changed_of(weight_object, "adam_update: weight");
  const py::array gradient = contiguous_of<float>(gradient_object, "adam_update: gradient");
  py::array velocity = changed_of(velocity_object, "adam_update: velocity");
  py::array square = changed_of(square_object, "adam_update: square");
  check_one_shape(
      "adam_update",
      {{"weight", weight}, {"gradient", gradient}, {"velocity", velocity}, {"square", square}});
  auto* w = static_cast<float*>(weight.mutable_data());
  auto* v = static_cast<float*>(velocity.mutable_data());
  auto* s = static_cast<float*>(square.mutable_data());
  const py::gil_scoped_release release;
  cpu::adam_update(weight.size(),
                   {momentum, fresh, squares, fresh_squares, step, root, shrink, epsilon},
                   values_of(gradient), w, v, s);
}

}  // namespace

void bind_elementwise(py::module_& module) {
  module.def("relu", &relu, py::arg("x"), "max(x, 0).");
  module.def("relu_backward", &relu_backward, py::arg("dy"), py::arg("y"),
             "dy where y is positive, else 0.");
  module.def("dropout_mask", &dropout_mask, py::arg("shape"), py::kw_only(), py::arg("ratio"),
             py::arg("key"), "uint8, 1 where a value is kept.");
  module.def("dropout", &dropout, py::arg("x"), py::arg("mask"), py::kw_only(), py::arg("ratio"),
             "x * mask / (1 - ratio).");
  module.def("l1_loss", &l1_loss, py::arg("prediction"), py::arg("label"),
             "(sum of absolute differences, gradient).");
  module.def("l2_loss", &l2_loss, py::arg("prediction"), py::arg("label"),
             "(half the sum of squared differences, gradient).");
  module.def("sgd_update", &sgd_update, py::arg("weight"), py::arg("gradient"), py::arg("velocity"),
             py::kw_only(), py::arg("rate"), py::arg("momentum"), py::arg("decay"),
             "v = momentum v + rate (gradient + decay w); w = w - v, in place.");
  module.def("adam_update", &adam_update, py::arg("weight"), py::arg("gradient"),
             py::arg("velocity"), py::arg("square"), py::kw_only(), py::arg("momentum"),
             py::arg("fresh"), py::arg("squares"), py::arg("fresh_squares"), py::arg("step"),
             py::arg("root"), py::arg("shrink"), py::arg("epsilon"),
             "v = momentum v + fresh gradient; s = squares s + fresh_squares gradient^2; "
             "w = w - step v / (root sqrt(s) + epsilon) - shrink w, in place.");
}

}  // namespace goturn::python
