// The fc layers in training.

#include "arguments.h"
#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace goturn::python {
namespace {

py::tuple linear_backward(const py::object& dy_object, const py::object& x_object,
                          const py::object& weight_object, bool need_dx, bool need_dweight) {
  const py::array dy = rows_of(dy_object, "linear_backward: dy");
  const py::array x = rows_of(x_object, "linear_backward: x");
  const py::array weight = rows_of(weight_object, "linear_backward: weight");
  const LinearShape shape = linear_shape_of("linear_backward", dy, x, weight);
  py::array_t<float> dx({need_dx ? shape.batch : 0, shape.inputs});
  py::array_t<float> dweight({need_dweight ? shape.outputs : 0, shape.inputs});
  py::array_t<float> dbias(shape.outputs);
  float* to = need_dx ? dx.mutable_data() : nullptr;
  float* to_weight = need_dweight ? dweight.mutable_data() : nullptr;
  float* to_bias = dbias.mutable_data();
  const std::int64_t dy_stride = row_stride(dy);  // asks Python, so not without the GIL
  {
    const py::gil_scoped_release release;
    cpu::linear_backward(shape, values_of(dy), dy_stride, values_of(x), values_of(weight), to,
                         to_weight, to_bias);
  }
  return py::make_tuple(need_dx ? py::object(dx) : py::none(),
                        need_dweight ? py::object(dweight) : py::none(), dbias);
}

void linear_sgd_update(const py::object& dy_object, const py::object& x_object,
                       const py::object& weight_object, const py::object& velocity_object,
                       float rate, float momentum, float decay) {
  const py::array dy = rows_of(dy_object, "linear_sgd_update: dy");
  const py::array x = rows_of(x_object, "linear_sgd_update: x");
  py::array weight = changed_of(weight_object, "linear_sgd_update: weight");
  py::array velocity = changed_of(velocity_object, "linear_sgd_update: velocity");
  check_one_shape("linear_sgd_update", {{"weight", weight}, {"velocity", velocity}});
  rows_of(weight, "linear_sgd_update: weight");  // two dimensions
  const LinearShape shape = linear_shape_of("linear_sgd_update", dy, x, weight);
  auto* w = static_cast<float*>(weight.mutable_data());
  auto* v = static_cast<float*>(velocity.mutable_data());
  const std::int64_t dy_stride = row_stride(dy);
  const py::gil_scoped_release release;
  cpu::linear_sgd_update(shape, {rate, momentum, decay}, values_of(dy), dy_stride, values_of(x), w,
                         v);
}

}  // namespace

void bind_linear_backward(py::module_& module) {
  module.def("linear_backward", &linear_backward, py::arg("dy"), py::arg("x"), py::arg("weight"),
             py::kw_only(), py::arg("need_dx"), py::arg("need_dweight"),
             "Gradients (dx or None, dweight or None, dbias) of linear.");
  module.def("linear_sgd_update", &linear_sgd_update, py::arg("dy"), py::arg("x"),
             py::arg("weight"), py::arg("velocity"), py::kw_only(), py::arg("rate"),
             py::arg("momentum"), py::arg("decay"),
             "sgd_update of weight and velocity (out, in), in place, with the gradient dy.T @ x.");
}

}  // namespace goturn::python
