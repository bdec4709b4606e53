// What the operations ask of their arguments' shapes, in the same words for every kind of array.
//
// Array is py::array or anything with its ndim(), shape(axis), strides(axis) and a shape_text() and
// shape_of() of its own.  Each function throws std::invalid_argument with one sentence.
#pragma once

#include <string>
#include <vector>

#include "arrays.h"
#include "shapes.h"

namespace goturn::python {

// -- convolution: x (N, C, H, W), weight (K, C / groups, R, S)
// ---------------------------------------

template <class Array>
ConvShape conv_shape_of(const Array& x, const Array& weight, std::int64_t stride, std::int64_t pad,
                        std::int64_t groups) {
  if (x.ndim() != 4 || weight.ndim() != 4) {
    throw std::invalid_argument(
        "conv2d: x (N, C, H, W) and weight (K, C / groups, R, S) have 4 dimensions each; got "
        "shapes " +
        shape_text(x) + " and " + shape_text(weight));
  }
  const ConvShape shape{x.shape(0),      x.shape(1),      x.shape(2), x.shape(3), weight.shape(0),
                        weight.shape(2), weight.shape(3), stride,     pad,        groups};
  validate(shape, weight.shape(1));
  return shape;
}

inline std::vector<py::ssize_t> output_of(const ConvShape& shape) {
  return {shape.batch, shape.outputs, shape.out_height(), shape.out_width()};
}

template <class Array>
void check_conv_bias(const Array& bias, const Array& weight) {
  if (bias.ndim() != 1 || bias.shape(0) != weight.shape(0)) {
    throw std::invalid_argument("conv2d: bias has shape " + shape_text(bias) + ", weight " +
                                shape_text(weight) + " needs (" + std::to_string(weight.shape(0)) +
                                ",)");
  }
}

// That dy is of the shape of what `op` is the backward of; `inputs` names what it was computed
// from.
template <class Array>
void check_gradient(const std::string& op, const Array& dy, const std::string& inputs,
                    const std::vector<py::ssize_t>& wanted) {
  if (shape_of(dy) != wanted) {
    throw std::invalid_argument(op + ": dy has shape " + shape_text(dy) + ", the output of " +
                                inputs + " has " + shape_text(wanted));
  }
}

template <class Array>
void check_conv_gradient(const Array& dy, const Array& x, const Array& weight,
                         const ConvShape& shape) {
  check_gradient("conv2d_backward", dy, "x " + shape_text(x) + " and weight " + shape_text(weight),
                 output_of(shape));
}

// -- pooling and normalisation: x (N, C, H, W)
// -------------------------------------------------------

template <class Array>
void check_planes(const Array& x, const std::string& op) {
  if (x.ndim() != 4) {
    throw std::invalid_argument(op + ": x (N, C, H, W) has 4 dimensions; got shape " +
                                shape_text(x));
  }
}

template <class Array>
PoolShape pool_shape_of(const Array& x, std::int64_t kernel, std::int64_t stride,
                        std::int64_t pad) {
  check_planes(x, "max_pool");
  const PoolShape shape{x.shape(0), x.shape(1), x.shape(2), x.shape(3), kernel, stride, pad};
  validate(shape);
  return shape;
}

inline std::vector<py::ssize_t> output_of(const PoolShape& shape) {
  return {shape.batch, shape.channels, shape.out_height(), shape.out_width()};
}

template <class Array>
void check_pool_gradient(const Array& dy, const Array& x, const PoolShape& shape) {
  check_gradient("max_pool_backward", dy, "x " + shape_text(x), output_of(shape));
}

template <class Array>
LrnShape lrn_shape_of(const Array& x, std::int64_t size, float alpha, float beta, float k) {
  check_planes(x, "lrn");
  const LrnShape shape{x.shape(0), x.shape(1), x.shape(2) * x.shape(3), size, alpha, beta, k};
  validate(shape);
  return shape;
}

// -- match: targets and searches (N, C * cells)
// -------------------------------------------------------

template <class Array>
MatchShape match_shape_of(const std::string& op, const Array& targets, const Array& searches,
                          std::int64_t cells, float scale) {
  if (targets.ndim() != 2 || shape_of(targets) != shape_of(searches)) {
    throw std::invalid_argument(
        op + ": targets and searches (N, C * cells) must be matrices of one shape; got " +
        shape_text(targets) + " and " + shape_text(searches));
  }
  MatchShape shape{targets.shape(0), 0, cells, scale};
  validate(shape, targets.shape(1), op);
  shape.channels = targets.shape(1) / cells;
  return shape;
}

template <class Array>
void check_match_gradient(const Array& dy, const Array& targets, const MatchShape& shape) {
  check_gradient(
      "match_backward", dy,
      "targets " + shape_text(targets) + " with " + std::to_string(shape.cells) + " cells",
      {static_cast<py::ssize_t>(shape.batch), static_cast<py::ssize_t>(shape.cells * shape.cells)});
}

// -- linear: x (N, in), weight (out, in), both checked to be matrices of contiguous rows
// ------------

// Values from row to row.
template <class Array>
std::int64_t row_stride(const Array& matrix) {
  return matrix.strides(0) / static_cast<py::ssize_t>(matrix.itemsize());
}

template <class Array>
LinearShape linear_shape_of(const std::string& op, const Array& x, const Array& weight) {
  if (x.shape(1) != weight.shape(1)) {
    throw std::invalid_argument(
        op + ": x (N, in) and weight (out, in) must agree in their second dimension; got shapes " +
        shape_text(x) + " and " + shape_text(weight));
  }
  return {x.shape(0), x.shape(1), weight.shape(0), row_stride(x), row_stride(weight)};
}

// The values from row to row of bias: 0 where it is one for all.
template <class Array>
std::int64_t check_linear_bias(const Array& bias, const Array& x, const Array& weight) {
  const bool one = bias.ndim() == 1 && bias.shape(0) == weight.shape(0);
  const bool each =
      bias.ndim() == 2 && bias.shape(0) == x.shape(0) && bias.shape(1) == weight.shape(0);
  if (!one && !each) {
    throw std::invalid_argument(
        "linear: bias has shape " + shape_text(bias) + ", x " + shape_text(x) + " and weight " +
        shape_text(weight) + " need (" + std::to_string(weight.shape(0)) + ",) or (" +
        std::to_string(x.shape(0)) + ", " + std::to_string(weight.shape(0)) + ")");
  }
  return each ? weight.shape(0) : 0;
}

template <class Array>
void check_linear_scale(const Array& scale, const Array& weight) {
  if (scale.ndim() != 1 || scale.shape(0) != weight.shape(0)) {
    throw std::invalid_argument("linear: scale must have one value for each row of weight " +
                                shape_text(weight) + "; got shape " + shape_text(scale));
  }
}

template <class Array>
LinearShape linear_shape_of(const std::string& op, const Array& dy, const Array& x,
                            const Array& weight) {
  const LinearShape shape = linear_shape_of(op, x, weight);
  check_gradient(op, dy, "x " + shape_text(x) + " and weight " + shape_text(weight),
                 {x.shape(0), weight.shape(0)});
  return shape;
}

// -- dropout
// -----------------------------------------------------------------------------------------

inline void check_ratio(const std::string& op, double ratio) {
  if (!(ratio >= 0 && ratio < 1)) {  // true for NaN too
    throw std::invalid_argument(op + ": ratio must be in [0, 1); got " +
                                std::string(py::str(py::float_(ratio))));
  }
}

// Of dropout_mask, for a checked ratio.
inline std::uint64_t threshold_of(double ratio) {
  return static_cast<std::uint64_t>(ratio * 4294967296.0);
}

// A key of 64 bits, of any kind of whole number.
inline std::uint64_t key_of(const py::object& object) {
  const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(object.ptr()));
  if (!number) throw py::error_already_set();
  const std::uint64_t key = PyLong_AsUnsignedLongLong(number.ptr());
  if (PyErr_Occurred() != nullptr) {
    PyErr_Clear();
    throw std::invalid_argument("dropout_mask: key must be in 0 .. 2**64 - 1; got " +
                                std::string(py::str(number)));
  }
  return key;
}

// The sizes of a tuple, each >= 0.
inline std::vector<py::ssize_t> sizes_of(const py::tuple& shape, const std::string& op) {
  std::vector<py::ssize_t> sizes;
  for (const py::handle& size : shape) {
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(size.ptr()));
    if (!number) throw py::error_already_set();
    sizes.push_back(PyLong_AsSsize_t(number.ptr()));
    if (PyErr_Occurred() != nullptr) {  // more than there is memory for anywhere
      PyErr_Clear();
      throw std::bad_alloc();
    }
    if (sizes.back() < 0) {
      throw std::invalid_argument(op + ": shape must be of sizes >= 0; got " +
                                  std::string(py::str(shape)));
    }
  }
  return sizes;
}

}  // namespace goturn::python
