// Max pooling and local response normalisation on the GPU: x (N, H, W, C).

#include "arguments.h"
#include "cuda/ops.h"
#include "device_arrays.h"
#include "modules.h"

namespace goturn::python {
namespace {

using Sizes = std::vector<py::ssize_t>;

void check_images(const std::string& op, const Sizes& x) {
  if (x.size() != 4) {
    throw std::invalid_argument(op + ": x (N, H, W, C) has 4 dimensions; got shape " +
                                shape_text(x));
  }
}

PoolShape shape_of_pool(const std::string& op, const Sizes& x, std::int64_t kernel,
                        std::int64_t stride, std::int64_t pad) {
  check_images(op, x);
  const PoolShape shape{x[0], x[3], x[1], x[2], kernel, stride, pad};
  validate(shape);
  return shape;
}

Sizes output_of(const PoolShape& shape, bool nchw) {
  if (nchw) return {shape.batch, shape.channels, shape.out_height(), shape.out_width()};
  return {shape.batch, shape.out_height(), shape.out_width(), shape.channels};
}

cuda::PoolOutput layout_of(bool nchw) {
  return nchw ? cuda::PoolOutput::nchw_float : cuda::PoolOutput::nhwc;
}

LrnShape shape_of_lrn(const std::string& op, const Sizes& x, std::int64_t size, float alpha,
                      float beta, float k) {
  check_images(op, x);
  const LrnShape shape{x[0], x[3], x[1] * x[2], size, alpha, beta, k};
  validate(shape);
  return shape;
}

py::tuple max_pool_shape(const py::tuple& x, std::int64_t kernel, std::int64_t stride,
                         std::int64_t pad) {
  const PoolShape shape = shape_of_pool("max_pool", sizes_of(x, "max_pool"), kernel, stride, pad);
  return tuple_of(output_of(shape, false));
}

void run_max_pool(const std::string& op, const py::object& x_object, const py::object& y_object,
                  std::int64_t kernel, std::int64_t stride, std::int64_t pad, bool nchw,
                  std::uintptr_t stream) {
  const DeviceArray x = device_numbers_of(x_object, op + ": x");
  const DeviceArray y = device_numbers_of(y_object, op + ": y");
  if (nchw && !y.holds<float>()) refuse_type(y, "float32");
  if (!nchw) check_same_type(y, x);
  const PoolShape shape = shape_of_pool(op, x.shape(), kernel, stride, pad);
  check_output(y, output_of(shape, nchw));
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::max_pool(shape, type_of(x), x.data(), layout_of(nchw), y.data(), stream_of(stream));
}

void max_pool(const py::object& x, const py::object& y, std::int64_t kernel, std::int64_t stride,
              std::int64_t pad, std::uintptr_t stream) {
  run_max_pool("max_pool", x, y, kernel, stride, pad, false, stream);
}

void max_pool_to_nchw(const py::object& x, const py::object& y, std::int64_t kernel,
                      std::int64_t stride, std::int64_t pad, std::uintptr_t stream) {
  run_max_pool("max_pool_to_nchw", x, y, kernel, stride, pad, true, stream);
}

void max_pool_backward(const py::object& dy_object, const py::object& x_object,
                       const py::object& dx_object, std::int64_t kernel, std::int64_t stride,
                       std::int64_t pad, bool nchw, std::uintptr_t stream) {
  const std::string op = "max_pool_backward";
  const DeviceArray dy = device_contiguous_of(dy_object, op + ": dy");
  const DeviceArray x = device_contiguous_of(x_object, op + ": x");
  const PoolShape shape = shape_of_pool(op, x.shape(), kernel, stride, pad);
  check_gradient(op, dy, "x " + shape_text(x), output_of(shape, nchw));
  const DeviceArray dx = device_output_of(dx_object, op + ": dx", x.shape());
  check_apart({&dx}, {&dy, &x});
  const py::gil_scoped_release release;
  cuda::max_pool_backward(shape, layout_of(nchw), data_of(dy), data_of(x), data_of(dx),
                          stream_of(stream));
}

void lrn(const py::object& x_object, const py::object& y_object, std::int64_t size, float alpha,
         float beta, float k, std::uintptr_t stream) {
  const DeviceArray x = device_numbers_of(x_object, "lrn: x");
  const DeviceArray y = device_numbers_of(y_object, "lrn: y");
  check_same_type(y, x);
  const LrnShape shape = shape_of_lrn("lrn", x.shape(), size, alpha, beta, k);
  check_output(y, x.shape());
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::lrn(shape, type_of(x), x.data(), y.data(), stream_of(stream));
}

void lrn_backward(const py::object& dy_object, const py::object& x_object,
                  const py::object& dx_object, std::int64_t size, float alpha, float beta, float k,
                  std::uintptr_t stream) {
  const DeviceArray dy = device_contiguous_of(dy_object, "lrn_backward: dy");
  const DeviceArray x = device_contiguous_of(x_object, "lrn_backward: x");
  const LrnShape shape = shape_of_lrn("lrn_backward", x.shape(), size, alpha, beta, k);
  check_one_shape("lrn_backward", {{"dy", dy}, {"x", x}});
  const DeviceArray dx = device_output_of(dx_object, "lrn_backward: dx", x.shape());
  check_apart({&dx}, {&dy, &x});
  const py::gil_scoped_release release;
  cuda::lrn_backward(shape, data_of(dy), data_of(x), data_of(dx), stream_of(stream));
}

void max_pool_lrn(const py::object& x_object, const py::object& y_object, std::int64_t kernel,
                  std::int64_t stride, std::int64_t pad, std::int64_t size, float alpha, float beta,
                  float k, std::uintptr_t stream) {
  const DeviceArray x = device_numbers_of(x_object, "max_pool_lrn: x");
  const DeviceArray y = device_numbers_of(y_object, "max_pool_lrn: y");
  check_same_type(y, x);
  const PoolShape pool = shape_of_pool("max_pool_lrn", x.shape(), kernel, stride, pad);
  const LrnShape norm = shape_of_lrn("max_pool_lrn", output_of(pool, false), size, alpha, beta, k);
  check_output(y, output_of(pool, false));
  check_apart({&y}, {&x});
  const py::gil_scoped_release release;
  cuda::max_pool_lrn(pool, norm, type_of(x), x.data(), y.data(), stream_of(stream));
}

}  // namespace

void bind_cuda_planes(py::module_& module) {
  module.def("max_pool_shape", &max_pool_shape, py::arg("x"), py::kw_only(), py::arg("kernel"),
             py::arg("stride"), py::arg("pad"),
             "The shape (N, P, Q, C) of max_pool's y, for a shape of x.");
  module.def("max_pool", &max_pool, py::arg("x"), py::arg("y"), py::kw_only(), py::arg("kernel"),
             py::arg("stride"), py::arg("pad"), py::arg("stream"),
             "y (N, P, Q, C) from x (N, H, W, C).");
  module.def("max_pool_to_nchw", &max_pool_to_nchw, py::arg("x"), py::arg("y"), py::kw_only(),
             py::arg("kernel"), py::arg("stride"), py::arg("pad"), py::arg("stream"),
             "y (N, C, P, Q) float32 from x (N, H, W, C).");
  module.def("max_pool_backward", &max_pool_backward, py::arg("dy"), py::arg("x"), py::arg("dx"),
             py::kw_only(), py::arg("kernel"), py::arg("stride"), py::arg("pad"), py::arg("nchw"),
             py::arg("stream"),
             "dx (N, H, W, C) of max_pool, or of max_pool_to_nchw where nchw; in float32.");
  module.def("lrn", &lrn, py::arg("x"), py::arg("y"), py::kw_only(), py::arg("size"),
             py::arg("alpha"), py::arg("beta"), py::arg("k"), py::arg("stream"),
             "x (N, H, W, C), normalised across channels.");
  module.def("lrn_backward", &lrn_backward, py::arg("dy"), py::arg("x"), py::arg("dx"),
             py::kw_only(), py::arg("size"), py::arg("alpha"), py::arg("beta"), py::arg("k"),
             py::arg("stream"), "dx (N, H, W, C) of lrn, in float32.");
  module.def("max_pool_lrn", &max_pool_lrn, py::arg("x"), py::arg("y"), py::kw_only(),
             py::arg("kernel"), py::arg("stride"), py::arg("pad"), py::arg("size"),
             py::arg("alpha"), py::arg("beta"), py::arg("k"), py::arg("stream"),
             "y (N, P, Q, C): lrn of max_pool of x (N, H, W, C).");
}

}  // namespace goturn::python
