// linear for batches on tensor cores: weights of fewer bits than a float.

#include "cuda/linear_matrix.cuh"

namespace goturn::cuda {

void launch_matrix_reduced(const LinearArguments& a, Type type, Stream stream) {
  using linear_matrix::Form;
  if (type == Type::i8) return linear_matrix::launch_form<std::int8_t, Form::int8>(a, stream);
  if (type == Type::bf16) return linear_matrix::launch_form<BFloat16, Form::half>(a, stream);
  linear_matrix::launch_form<Half, Form::half>(a, stream);
}

}  // namespace goturn::cuda
