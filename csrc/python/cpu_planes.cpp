// Max pooling and local response normalisation.

#include "arguments.h"
#include "arrays.h"
#include "modules.h"
#include "ops.h"

namespace goturn::python {
namespace {

py::array_t<float> max_pool(const py::object& x_object, std::int64_t kernel, std::int64_t stride,
                            std::int64_t pad) {
  const py::array x = contiguous_of<float>(x_object, "max_pool: x");
  const PoolShape shape = pool_shape_of(x, kernel, stride, pad);
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
  const py::array x = contiguous_of<float>(x_object, "max_pool_backward: x");
  const PoolShape shape = pool_shape_of(x, kernel, stride, pad);
  check_pool_gradient(dy, x, shape);
  py::array_t<float> dx(shape_of(x));
  float* to = dx.mutable_data();
  {
    const py::gil_scoped_release release;
    cpu::max_pool_backward(shape, values_of(dy), values_of(x), to);
  }
  return dx;
}

py::array_t<float> lrn(const py::object& x_object, std::int64_t size, float alpha, float beta,
                       float k) {
  const py::array x = contiguous_of<float>(x_object, "lrn: x");
  const LrnShape shape = lrn_shape_of(x, size, alpha, beta, k);
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
  const py::array x = contiguous_of<float>(x_object, "lrn_backward: x");
  const LrnShape shape = lrn_shape_of(x, size, alpha, beta, k);
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
