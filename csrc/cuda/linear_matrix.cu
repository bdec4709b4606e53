// linear for batches on tensor cores: weights of single precision.

#include "cuda/linear_matrix.cuh"

namespace goturn::cuda {

Slices matrix_slices(const LinearArguments& a, Type type) {
  // A tile for few items is small: four blocks fit on a multiprocessor, and are needed there to
  // keep enough of the weights on their way.
  const std::int64_t blocks = linear_matrix::sizes_of(a.batch).item_tiles == 1 ? 2 : 1;
  const auto step = static_cast<std::int64_t>(128 / size_of(type));
  return slices_of(a.depth, linear_matrix::tiles_of(a), blocks * kFullGrid, 4 * step, step);
}

void launch_matrix(const LinearArguments& a, Type type, Products products, Stream stream) {
  using linear_matrix::Form;
  if (type != Type::f32) return launch_matrix_reduced(a, type, stream);
  if (products == Products::tf32) return linear_matrix::launch_form<float, Form::tf32>(a, stream);
  linear_matrix::launch_form<float, Form::tf32x3>(a, stream);
}

}  // namespace goturn::cuda
