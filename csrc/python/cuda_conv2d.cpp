// Convolution and its gradients on the GPU: x (N, H, W, C), weight (K, R, S, C / groups).

#include "arguments.h"
#include "cuda/ops.h"
#include "device_arrays.h"
#include "launches.h"
#include "modules.h"

namespace goturn::python {
namespace {

using Sizes = std::vector<py::ssize_t>;

ConvShape shape_of_conv(const Sizes& x, const Sizes& weight, std::int64_t stride, std::int64_t pad,
                        std::int64_t groups) {
  if (x.size() != 4 || weight.size() != 4) {
    throw std::invalid_argument(
        "conv2d: x (N, H, W, C) and weight (K, R, S, C / groups) have 4 dimensions each; got "
        "shapes " +
        shape_text(x) + " and " + shape_text(weight));
  }
  const ConvShape shape{x[0],      x[3],      x[1],   x[2], weight[0],
                        weight[1], weight[2], stride, pad,  groups};
  validate(shape, weight[3]);
  return shape;
}

Sizes output_of(const ConvShape& shape) {
  return {shape.batch, shape.out_height(), shape.out_width(), shape.outputs};
}

Sizes weight_of(const ConvShape& shape) {
  return {shape.outputs, shape.kernel_height, shape.kernel_width, shape.channels / shape.groups};
}

py::tuple conv2d_shape(const py::tuple& x, const py::tuple& weight, std::int64_t stride,
                       std::int64_t pad, std::int64_t groups) {
  return tuple_of(output_of(
      shape_of_conv(sizes_of(x, "conv2d"), sizes_of(weight, "conv2d"), stride, pad, groups)));
}

using Workspace = std::size_t (*)(const ConvShape&, cuda::Type, cuda::Products);

template <Workspace bytes>
std::size_t workspace(const py::tuple& x, const py::tuple& weight, std::int64_t stride,
                      std::int64_t pad, std::int64_t groups, const std::string& dtype,
                      const std::string& products) {
  const std::string op = "conv2d";
  const ConvShape shape = shape_of_conv(sizes_of(x, op), sizes_of(weight, op), stride, pad, groups);
  const cuda::Type type = type_named(op, dtype);
  return bytes(shape, type, products_of(op, products, type));
}

void conv2d(const py::object& x_object, const py::object& weight_object,
            const py::object& bias_object, const py::object& y_object, std::int64_t stride,
            std::int64_t pad, std::int64_t groups, bool relu, const std::string& products_name,
            const py::object& workspace_object, const py::object& counters_object,
            std::uintptr_t stream) {
  const DeviceArray x = device_numbers_of(x_object, "conv2d: x");
  const DeviceArray weight = device_numbers_of(weight_object, "conv2d: weight");
  const DeviceArray bias = device_contiguous_of(bias_object, "conv2d: bias");
  const DeviceArray y = device_numbers_of(y_object, "conv2d: y");
  check_same_type(weight, x);
  check_same_type(y, x);
  const ConvShape shape = shape_of_conv(x.shape(), weight.shape(), stride, pad, groups);
  check_conv_bias(bias, weight);
  check_output(y, output_of(shape));
  const cuda::Type type = type_of(x);
  const cuda::Products products = products_of("conv2d", products_name, type);
  const Scratch scratch("conv2d", workspace_object, counters_object,
                        cuda::conv2d_workspace(shape, type, products));
  check_apart({&y, pointer_to(scratch.workspace), &scratch.counters}, {&x, &weight, &bias});
  const py::gil_scoped_release release;
  cuda::conv2d(shape, type, products, x.data(), weight.data(), data_of(bias), relu, y.data(),
               scratch.memory(), scratch.counts(), stream_of(stream));
}

// That dy is of the shape of the output of x and weight.
void check_dy(const std::string& op, const DeviceArray& dy, const Sizes& x, const Sizes& weight,
              const ConvShape& shape) {
  check_gradient(op, dy, "x " + shape_text(x) + " and weight " + shape_text(weight),
                 output_of(shape));
}

void conv2d_backward_data(const py::object& dy_object, const py::object& weight_object,
                          const py::object& dx_object, std::int64_t stride, std::int64_t pad,
                          std::int64_t groups, const std::string& products_name,
                          const py::object& workspace_object, const py::object& counters_object,
                          std::uintptr_t stream) {
  const std::string op = "conv2d_backward_data";
  const DeviceArray dy = device_numbers_of(dy_object, op + ": dy");
  const DeviceArray weight = device_numbers_of(weight_object, op + ": weight");
  const DeviceArray dx = device_numbers_of(dx_object, op + ": dx");
  check_same_type(weight, dy);
  check_same_type(dx, dy);
  const ConvShape shape = shape_of_conv(dx.shape(), weight.shape(), stride, pad, groups);
  check_dy(op, dy, dx.shape(), weight.shape(), shape);
  check_output(dx, dx.shape());
  const cuda::Type type = type_of(dy);
  const cuda::Products products = products_of(op, products_name, type);
  const Scratch scratch(op, workspace_object, counters_object,
                        cuda::conv2d_backward_data_workspace(shape, type, products));
  check_apart({&dx, pointer_to(scratch.workspace), &scratch.counters}, {&dy, &weight});
  const py::gil_scoped_release release;
  cuda::conv2d_backward_data(shape, type, products, dy.data(), weight.data(), dx.data(),
                             scratch.memory(), scratch.counts(), stream_of(stream));
}

void conv2d_backward_weight(const py::object& dy_object, const py::object& x_object,
                            const py::object& dweight_object, const py::object& dbias_object,
                            std::int64_t stride, std::int64_t pad, std::int64_t groups,
                            const std::string& products_name, const py::object& workspace_object,
                            const py::object& counters_object, std::uintptr_t stream) {
  const std::string op = "conv2d_backward_weight";
  const DeviceArray dy = device_numbers_of(dy_object, op + ": dy");
  const DeviceArray x = device_numbers_of(x_object, op + ": x");
  const DeviceArray dweight = device_array_of(dweight_object, op + ": dweight");
  check_same_type(x, dy);
  const ConvShape shape = shape_of_conv(x.shape(), dweight.shape(), stride, pad, groups);
  check_dy(op, dy, x.shape(), dweight.shape(), shape);
  check_output(dweight, weight_of(shape));
  const DeviceArray dbias = device_output_of(dbias_object, op + ": dbias", {shape.outputs});
  const cuda::Type type = type_of(dy);
  const cuda::Products products = products_of(op, products_name, type);
  const Scratch scratch(op, workspace_object, counters_object,
                        cuda::conv2d_backward_weight_workspace(shape, type, products));
  check_apart({&dweight, &dbias, pointer_to(scratch.workspace), &scratch.counters}, {&dy, &x});
  const py::gil_scoped_release release;
  cuda::conv2d_backward_weight(shape, type, products, dy.data(), x.data(), data_of(dweight),
                               data_of(dbias), scratch.memory(), scratch.counts(),
                               stream_of(stream));
}

}  // namespace

void bind_cuda_conv2d(py::module_& module) {
  module.def("conv2d_shape", &conv2d_shape, py::arg("x"), py::arg("weight"), py::kw_only(),
             py::arg("stride"), py::arg("pad"), py::arg("groups"),
             "The shape (N, P, Q, K) of conv2d's y, for shapes of x and weight.");
  const auto bind_workspace = [&](const char* name, auto function) {
    module.def(name, function, py::arg("x"), py::arg("weight"), py::kw_only(), py::arg("stride"),
               py::arg("pad"), py::arg("groups"), py::arg("dtype"), py::arg("products"),
               "Bytes of workspace, for shapes of x and weight.");
  };
  bind_workspace("conv2d_workspace", &workspace<&cuda::conv2d_workspace>);
  bind_workspace("conv2d_backward_data_workspace",
                 &workspace<&cuda::conv2d_backward_data_workspace>);
  bind_workspace("conv2d_backward_weight_workspace",
                 &workspace<&cuda::conv2d_backward_weight_workspace>);
  module.def("conv2d", &conv2d, py::arg("x"), py::arg("weight"), py::arg("bias"), py::arg("y"),
             py::kw_only(), py::arg("stride"), py::arg("pad"), py::arg("groups"), py::arg("relu"),
             py::arg("products"), py::arg("workspace"), py::arg("counters"), py::arg("stream"),
             "y (N, P, Q, K) from x (N, H, W, C), weight (K, R, S, C / groups) and bias (K,).");
  module.def("conv2d_backward_data", &conv2d_backward_data, py::arg("dy"), py::arg("weight"),
             py::arg("dx"), py::kw_only(), py::arg("stride"), py::arg("pad"), py::arg("groups"),
             py::arg("products"), py::arg("workspace"), py::arg("counters"), py::arg("stream"),
             "dx (N, H, W, C) of conv2d without ReLU.");
  module.def("conv2d_backward_weight", &conv2d_backward_weight, py::arg("dy"), py::arg("x"),
             py::arg("dweight"), py::arg("dbias"), py::kw_only(), py::arg("stride"), py::arg("pad"),
             py::arg("groups"), py::arg("products"), py::arg("workspace"), py::arg("counters"),
             py::arg("stream"),
             "dweight (K, R, S, C / groups) and dbias (K,) of conv2d without ReLU, in float32.");
}

}  // namespace goturn::python
