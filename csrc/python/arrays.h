// From Python's arguments to the structs of shapes.h, checked.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <initializer_list>
#include <new>
#include <string>
#include <vector>

#include "shapes.h"

namespace goturn::python {

namespace py = pybind11;

inline std::string type_name(const py::handle& object) {
  return py::str(py::type::handle_of(object).attr("__name__"));
}

inline std::string shape_text(const py::array& array) { return py::str(array.attr("shape")); }

// `object` as a NumPy array of exactly T, at any strides; `name` is the argument's, for the error.
template <class T>
py::array array_of(const py::object& object, const std::string& name) {
  if (!py::isinstance<py::array_t<T>>(object)) {
    const std::string kind = py::isinstance<py::array>(object)
                                 ? std::string(py::str(object.attr("dtype")))
                                 : type_name(object);
    const std::string wanted = py::str(py::dtype::of<T>());
    throw py::type_error(name + " must be an array of " + wanted + "; got " + kind);
  }
  return py::reinterpret_borrow<py::array>(object);
}

// As array_of, in C order.
template <class T>
py::array contiguous_of(const py::object& object, const std::string& name) {
  const py::array array = array_of<T>(object, name);
  if ((array.flags() & py::array::c_style) == 0) {
    throw std::invalid_argument(name + " must be C-contiguous");
  }
  return array;
}

// That `array` is a matrix whose rows may lie apart (a column slice), its strides >= 0.
template <class Array>
void check_rows(const Array& array, const std::string& name) {
  const auto size = static_cast<py::ssize_t>(array.itemsize());
  if (array.ndim() == 2 && array.size() == 0) return;  // its strides say nothing
  if (array.ndim() != 2 || (array.shape(1) > 1 && array.strides(1) != size) ||
      array.strides(0) % size != 0 || array.strides(0) < 0) {
    throw std::invalid_argument(name + " must be a matrix of contiguous rows; got shape " +
                                shape_text(array));
  }
}

// A matrix of T as check_rows asks for.
template <class T = float>
py::array rows_of(const py::object& object, const std::string& name) {
  py::array array = array_of<T>(object, name);
  check_rows(array, name);
  return array;
}

// As contiguous_of<float>, changed in place by the operation.
inline py::array changed_of(const py::object& object, const std::string& name) {
  const py::array array = contiguous_of<float>(object, name);
  if (!array.writeable()) {
    throw std::invalid_argument(name + " is changed in place and must be writeable");
  }
  return array;
}

inline const float* values_of(const py::array& array) {
  return static_cast<const float*>(array.data());
}

inline std::vector<py::ssize_t> shape_of(const py::array& array) {
  return {array.shape(), array.shape() + array.ndim()};
}

inline py::tuple tuple_of(const std::vector<py::ssize_t>& shape) {
  py::tuple sizes(shape.size());
  for (std::size_t axis = 0; axis < shape.size(); ++axis) sizes[axis] = shape[axis];
  return sizes;
}

inline std::string shape_text(const std::vector<py::ssize_t>& shape) {
  return py::str(tuple_of(shape));
}

// A new array, or MemoryError, also for sizes whose product is no number of bytes.
template <class T>
py::array_t<T> new_array(const std::vector<py::ssize_t>& shape) {
  py::ssize_t bytes = sizeof(T);
  for (const py::ssize_t size : shape) {
    if (__builtin_mul_overflow(bytes, std::max<py::ssize_t>(size, 1), &bytes)) {
      throw std::bad_alloc();
    }
  }
  return py::array_t<T>(shape);
}

struct Named {
  template <class Array>
  Named(const char* name, const Array& array) : name(name), shape(shape_of(array)) {}

  const char* name;
  std::vector<py::ssize_t> shape;
};

// That arrays are of one shape.
inline void check_one_shape(const std::string& op, std::initializer_list<Named> arrays) {
  std::string given;
  bool same = true;
  for (const Named& item : arrays) {
    same = same && item.shape == arrays.begin()->shape;
    given += (given.empty() ? "" : ", ") + std::string(item.name) + " " + shape_text(item.shape);
  }
  if (!same) throw std::invalid_argument(op + ": arrays must have one shape; got " + given);
}

// An (H, W, C) uint8 array as a Frame, validated.  The caller keeps the array alive.
template <class Array>
Frame frame_of_pixels(const Array& array) {
  if (array.ndim() != 3) {
    throw std::invalid_argument(
        "crop_resize: frame must be (H, W, C) with at least one pixel and C of 1, 3 or 4; got " +
        shape_text(array));
  }
  const Frame frame{static_cast<const std::uint8_t*>(array.data()),
                    array.shape(0),
                    array.shape(1),
                    array.shape(2),
                    array.strides(0),
                    array.strides(1),
                    array.strides(2)};
  validate(frame);
  return frame;
}

inline Frame frame_of(const py::object& object) {
  return frame_of_pixels(array_of<std::uint8_t>(object, "crop_resize: frame"));
}

// An (N, 8) int64 array as windows of `frame`, validated.  A copy, so that another thread that
// writes into the array cannot undo the validation.
inline std::vector<CropWindow> windows_of(const py::object& object, const Frame& frame) {
  const py::array array = array_of<std::int64_t>(object, "crop_resize: windows");
  if (array.ndim() != 2 || array.shape(1) != kCropWindowFields ||
      (array.flags() & py::array::c_style) == 0) {
    throw std::invalid_argument("crop_resize: windows must be (N, 8), C-contiguous; got " +
                                shape_text(array));
  }
  std::vector<CropWindow> windows(static_cast<std::size_t>(array.shape(0)));
  if (!windows.empty()) {
    std::memcpy(windows.data(), array.data(), windows.size() * sizeof(CropWindow));
  }
  for (std::size_t index = 0; index < windows.size(); ++index) {
    validate(windows[index], frame, static_cast<std::int64_t>(index));
  }
  return windows;
}

inline CropResizeParameters crop_resize_parameters_of(std::int64_t size, const py::sequence& mean,
                                                      const std::string& colour_order) {
  if (mean.size() != 3) {
    throw std::invalid_argument("crop_resize: mean must be three numbers between -1e6 and 1e6");
  }
  if (colour_order != "BGR" && colour_order != "RGB") {
    throw std::invalid_argument("crop_resize: colour_order must be BGR or RGB; got " +
                                colour_order);
  }
  CropResizeParameters parameters{size, {}, colour_order == "RGB"};
  for (std::size_t plane = 0; plane < 3; ++plane) {
    const py::object value = mean[plane];
    parameters.mean[plane] = PyFloat_AsDouble(value.ptr());
    if (PyErr_Occurred() != nullptr) throw py::error_already_set();
  }
  validate(parameters);
  return parameters;
}

}  // namespace goturn::python
