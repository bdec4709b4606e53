// What launching functions share: products, workspace, counters.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "arguments.h"
#include "device_arrays.h"

namespace goturn::python {

// How numbers of a dtype are stored, by its NumPy name; bfloat16 numbers are bits, "uint16".
inline cuda::Type type_named(const std::string& op, const std::string& dtype) {
  if (dtype == "float32") return cuda::Type::f32;
  if (dtype == "float16") return cuda::Type::f16;
  if (dtype == "uint16") return cuda::Type::bf16;
  if (dtype == "int8") return cuda::Type::i8;
  throw std::invalid_argument(op + ": dtype must be one of float32, float16, uint16, int8; got " +
                              dtype);
}

// The products named, which must fit numbers of `type` and this GPU.
inline cuda::Products products_of(const std::string& op, const std::string& name, cuda::Type type) {
  cuda::Products products = cuda::Products::scalar;
  if (name == "scalar") return products;
  if (name == "tf32") {
    products = cuda::Products::tf32;
  } else if (name == "tf32x3") {
    products = cuda::Products::tf32x3;
  } else if (name == "half") {
    products = cuda::Products::half;
  } else {
    throw std::invalid_argument(op + ": products must be one of scalar, tf32, tf32x3, half; got " +
                                name);
  }
  const bool whole = type == cuda::Type::f32;
  if (whole == (products == cuda::Products::half)) {
    throw std::invalid_argument(op + ": products " + name + " are not of numbers of " +
                                (whole ? "float32" : "16 bits"));
  }
  const int capability = cuda::compute_capability();
  if (capability < 80) {
    throw std::runtime_error(
        op + ": products " + name + " need compute capability 8.0; this GPU has " +
        std::to_string(capability / 10) + "." + std::to_string(capability % 10));
  }
  return products;
}

// The shape of linear, for shapes of x (N, in) and weight (out, in).
inline LinearShape linear_shape_of_sizes(const std::string& op, const py::tuple& x_shape,
                                         const py::tuple& weight_shape) {
  const std::vector<py::ssize_t> x = sizes_of(x_shape, op);
  const std::vector<py::ssize_t> weight = sizes_of(weight_shape, op);
  if (x.size() != 2 || weight.size() != 2 || x[1] != weight[1]) {
    throw std::invalid_argument(
        op + ": x (N, in) and weight (out, in) must agree in their second dimension; got shapes " +
        shape_text(x) + " and " + shape_text(weight));
  }
  return {x[0], x[1], weight[0], x[1], x[1]};
}

// The memory that an operation works in, checked.
struct Scratch {
  Scratch(const std::string& op, const py::object& workspace_object,
          const py::object& counters_object, std::size_t bytes)
      : workspace(
            unless_none(workspace_object, op + ": workspace", &device_array_of<std::uint8_t>)),
        counters(device_array_of<std::int32_t>(counters_object, op + ": counters")) {
    constexpr std::uintptr_t kAlignment = 256;
    const auto given = workspace ? static_cast<std::size_t>(workspace->size()) : 0;
    const auto address = workspace ? reinterpret_cast<std::uintptr_t>(workspace->data()) : 0;
    if (given < bytes || (bytes > 0 && address % kAlignment != 0)) {
      throw std::invalid_argument(op + ": workspace must be " + std::to_string(bytes) +
                                  " bytes or more from an address that 256 divides; got " +
                                  std::to_string(given));
    }
    if (workspace) check_output(*workspace, workspace->shape());
    check_output(counters, {cuda::kCounters});
  }

  void* memory() const { return data_of<void>(workspace); }
  int* counts() const { return data_of<int>(counters); }

  std::optional<DeviceArray> workspace;
  DeviceArray counters;
};

}  // namespace goturn::python
