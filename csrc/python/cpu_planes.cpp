// Max pooling and local response normalisation.

#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace goturn::python {
namespace {

// An argument (N, C, H, W); `op` names the operation for its arguments' kind, `forward` for shapes.
py::array planes_of(const py::object& object, const std::string& op, const std::string& forward) {
  const py::array x = contiguous_of<float>(object, op + ": x");
  if (x.ndim() != 4) {
    throw std::invalid_argument(forward + ": x (N, C, H, W) has 4 dimensions; got shape " +
                                shape_text(x));
  }
  return x;
}

PoolShape shape_of_pool(const py::array& x, std::int64_t kernel, std::int64_t stride,
                        std::int64_t pad) {
  const PoolShape shape{x.shape(0), x.shape(1), x.shape(2), x.shape(3), kernel, stride, pad};
  validate(shape);
  return shape;
}

std::vector<py::ssize_t> output_of(const PoolShape& shape) {
  return {shape.batch, shape.channels, shape.out_height(), shape.out_width()};
}

py::array_t<float> max_pool(const py::object& x_object, std::int64_t kernel, std::int64_t stride,
                            std::int64_t pad) {
  const py::array x = planes_of(x_object, "max_pool", "max_pool");
  const PoolShape shape = shape_of_pool(x, kernel, stride, pad);
  auto y = new_array<float>(output_of(shape));
  float* to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::max_pool(shape, values_of(x), to);
  }
  return y;
}

py::array_t<float> max_pool_backward(const py::object& dy_object, const py::object& x_object,
                                     std::int64_t kernel, std::int64_t stride, std::int64_t pad) {
  const py::array dy = contiguous_of<float>(dy_object, "max_pool_backward: dy");
  const py::array x = planes_of(x_object, "max_pool_backward", "max_pool");
  const PoolShape shape = shape_of_pool(x, kernel, stride, pad);
  if (shape_of(dy) != output_of(shape)) {
    throw std::invalid_argument("max_pool_backward: dy has shape " + shape_text(dy) +
                                ", the output of x " + shape_text(x) + " has " +
                                shape_text(output_of(shape)));
  }
  py::array_t<float> dx(shape_of(x));
  float* to = dx.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::max_pool_backward(shape, values_of(dy), values_of(x), to);
  }
  return dx;
}

LrnShape shape_of_lrn(const py::array& x, std::int64_t size, float alpha, float beta, float k) {
  const LrnShape shape{x.shape(0), x.shape(1), x.shape(2) * x.shape(3), size, alpha, beta, k};
  validate(shape);
  return shape;
}

py::array_t<float> lrn(const py::object& x_object, std::int64_t size, float alpha, float beta,
                       float k) {
  const py::array x = planes_of(x_object, "lrn", "lrn");
  const LrnShape shape = shape_of_lrn(x, size, alpha, beta, k);
  py::array_t<float> y(shape_of(x));
  float* to = y.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::lrn(shape, values_of(x), to);
  }
  return y;
}

py::array_t<float> lrn_backward(const py::object& dy_object, const py::object& x_object,
                                std::int64_t size, float alpha, float beta, float k) {
  const py::array dy = contiguous_of<float>(dy_object, "lrn_backward: dy");
  const py::array x = planes_of(x_object, "lrn_backward", "lrn");
  const LrnShape shape = shape_of_lrn(x, size, alpha, beta, k);
  check_one_shape("lrn_backward", {{"dy", dy}, {"x", x}});
  py::array_t<float> dx(shape_of(x));
  float* to = dx.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::lrn_backward(shape, values_of(dy), values_of(x), to);
  }
  return dx;
}

}  // namespace

void bind_planes(py::module_& module) {
  module.def("max_pool", &max_pool, py::arg("x"), py::kw_only(), py::arg("kernel"),
             py::arg("stride"), py::arg("pad"), "Maximum over windows of x (N, C, H, W).");
  module.def("max_pool_backward", &max_pool_backward, py::arg("dy"), py::arg("x"), py::kw_only(),
             py::arg("kernel"), py::arg("stride"), py::arg("pad"), "dx of max_pool.");
  module.def("lrn", &lrn, py::arg("x"), py::kw_only(), py::arg("size"), py::arg("alpha"),
             py::arg("beta"), py::arg("k"), "x (N, C, H, W), normalised across channels.");
  module.def("lrn_backward", &lrn_backward, py::arg("dy"), py::arg("x"), py::kw_only(),
             py::arg("size"), py::arg("alpha"), py::arg("beta"), py::arg("k"), "dx of lrn.");
}

}  // namespace goturn::python
