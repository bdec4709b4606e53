// Gradient of linear's input: dx (batch, inputs) = dy (batch, outputs) weight (outputs, inputs),
// and through the ReLU and dropout of the layer before.
//
// Floor: the bytes of the weights, read once (fc7: 67 MB).  The kernels of the forward pass, with
// the weight's columns for rows: see linear_matrix.cuh and linear_scalar.cu.

#include "cuda/linear_kernels.h"
#include "cuda/linear_matrix.cuh"

namespace goturn::cuda {
namespace {

// Whether dy and the weight may be loaded 16 bytes at a time, of which pieces fill the rows.
bool allows_vectors(const LinearShape& shape, const float* dy, std::int64_t dy_stride,
                    const float* weight) {
  return aligned16(dy, weight) && shape.inputs % 4 == 0 && shape.outputs % 4 == 0 &&
         shape.weight_stride % 4 == 0 && dy_stride % 4 == 0;
}

bool on_tensor_cores(const LinearShape& shape, Products products, bool vectors) {
  return products != Products::scalar && vectors && shape.outputs >= kMinMatrixDepth;
}

LinearArguments arguments_of(const LinearShape& shape) {
  LinearArguments a{};
  a.batch = shape.batch;
  a.rows = shape.inputs;
  a.depth = shape.outputs;
  a.weight_stride = shape.weight_stride;
  return a;
}

Slices slices_for(const LinearArguments& a, bool tensor) {
  return tensor ? matrix_slices(a, Type::f32) : scalar_slices(a);
}

}  // namespace

std::size_t linear_backward_data_workspace(const LinearShape& shape, Products products) {
  if (shape.batch == 0 || shape.inputs == 0) return 0;
  const LinearArguments a = arguments_of(shape);
  // Whatever the strides and addresses.
  std::size_t size = 0;
  for (const bool vectors : {false, true}) {
    const Slices slices = slices_for(a, on_tensor_cores(shape, products, vectors));
    size = std::max(size, parts_size(slices, a.batch, a.rows));
  }
  return size;
}

void linear_backward_data(const LinearShape& shape, Products products, const float* dy,
                          std::int64_t dy_stride, const float* weight, const float* gate,
                          float gate_factor, float* dx, void* workspace, int* counters,
                          Stream stream) {
  using linear_matrix::Form;
  if (shape.batch == 0 || shape.inputs == 0) return;
  LinearArguments a = arguments_of(shape);
  a.x = dy;
  a.x_stride = dy_stride;
  a.weight = weight;
  a.output.gate = gate;
  a.output.gate_stride = shape.x_stride;
  a.output.gate_factor = gate_factor;
  a.output.y = dx;
  const bool vectors = allows_vectors(shape, dy, dy_stride, weight);
  const bool tensor = on_tensor_cores(shape, products, vectors);
  const Slices slices = slices_for(a, tensor);
  a.slices = slices.count;
  a.slice_depth = slices.depth;
  a.parts = static_cast<float*>(workspace);
  a.counters = counters;
  if (!tensor) return launch_scalar_across(a, stream);
  if (products == Products::tf32) {
    return linear_matrix::launch_form<float, Form::tf32, true>(a, stream);
  }
  linear_matrix::launch_form<float, Form::tf32x3, true>(a, stream);
}

}  // namespace goturn::cuda
