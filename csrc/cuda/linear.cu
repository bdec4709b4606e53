// linear: which kernel, and its arguments.
//
//   up to kMaxGemvBatch rows   linear_gemv.cu, at the speed of memory
//   scalar products            linear_scalar.cu, on CUDA cores
//   others                     linear_matrix.cu, on tensor cores, where alignment allows; a matrix
//                              of odd sizes is multiplied on CUDA cores
//
// Results of tensor-core products of a tf32 or a half are no less exact on CUDA cores.

#include "cuda/linear_kernels.h"

namespace goturn::cuda {
namespace {

// Tensor cores from here on: a row of theirs costs as much as eight.  int8 is converted one by one,
// for which CUDA cores have less time to spare.
std::int64_t gemv_batch(Type type, Products products) {
  if (products == Products::scalar) return kMaxGemvBatch;
  return type == Type::i8 ? 2 : 4;
}

struct Choice {
  enum class Kernel { gemv, scalar, matrix } kernel;
  bool vectors;
};

// Whether x and the weight may be loaded 16 bytes at a time, of which pieces fill the rows.
bool allows_vectors(const LinearShape& shape, Type type, const void* x, const void* weight) {
  const auto values = static_cast<std::int64_t>(16 / size_of(type));
  return aligned16(x, weight) && shape.inputs % values == 0 && shape.weight_stride % values == 0 &&
         shape.x_stride % 4 == 0;
}

Choice choice_of(const LinearShape& shape, Type type, Products products, bool vectors) {
  if (shape.batch <= gemv_batch(type, products)) return {Choice::Kernel::gemv, vectors};
  if (products == Products::scalar || !vectors || shape.inputs < kMinMatrixDepth) {
    return {Choice::Kernel::scalar, vectors};
  }
  return {Choice::Kernel::matrix, true};
}

Slices slices_for(const LinearArguments& a, Type type, const Choice& choice) {
  switch (choice.kernel) {
    case Choice::Kernel::gemv:
      return gemv_slices(a, type, choice.vectors);
    case Choice::Kernel::scalar:
      return scalar_slices(a);
    case Choice::Kernel::matrix:
      break;
  }
  return matrix_slices(a, type);
}

LinearArguments arguments_of(const LinearShape& shape) {
  LinearArguments a{};
  a.batch = shape.batch;
  a.rows = shape.outputs;
  a.depth = shape.inputs;
  a.x_stride = shape.x_stride;
  a.weight_stride = shape.weight_stride;
  return a;
}

}  // namespace

std::size_t linear_workspace(const LinearShape& shape, Type type, Products products) {
  if (shape.batch == 0 || shape.outputs == 0) return 0;
  const LinearArguments a = arguments_of(shape);
  std::size_t size = 0;
  // Whatever the strides and addresses.
  for (const bool vectors : {false, true}) {
    const Slices slices = slices_for(a, type, choice_of(shape, type, products, vectors));
    size = std::max(size, parts_size(slices, a.batch, a.rows));
  }
  return size;
}

void linear(const LinearShape& shape, const LinearWeight& weight, Products products, const float* x,
            const float* bias, std::int64_t bias_stride, bool relu, const Dropout* dropout,
            float* y, void* workspace, int* counters, Stream stream) {
  if (shape.batch == 0 || shape.outputs == 0) return;
  LinearArguments a = arguments_of(shape);
  a.x = x;
  a.weight = weight.values;
  a.output.scale = weight.type == Type::i8 ? weight.scale : nullptr;
  a.output.bias = bias;
  a.output.bias_stride = bias_stride;
  a.output.relu = relu;
  if (dropout != nullptr) {
    a.output.key = dropout->key;
    a.output.threshold = dropout->threshold;
    a.output.kept = dropout->kept;
  }
  a.output.y = y;
  const bool vectors = allows_vectors(shape, weight.type, x, weight.values);
  const Choice choice = choice_of(shape, weight.type, products, vectors);
  const Slices slices = slices_for(a, weight.type, choice);
  a.slices = slices.count;
  a.slice_depth = slices.depth;
  a.parts = static_cast<float*>(workspace);
  a.counters = counters;
  switch (choice.kernel) {
    case Choice::Kernel::gemv:
      return launch_gemv(a, weight.type, choice.vectors, stream);
    case Choice::Kernel::scalar:
      return launch_scalar(a, weight.type, stream);
    case Choice::Kernel::matrix:
      return launch_matrix(a, weight.type, products, stream);
  }
}

}  // namespace goturn::cuda
