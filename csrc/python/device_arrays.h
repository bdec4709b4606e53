// Arrays in device memory as arguments: whatever has __cuda_array_interface__ (CuPy's arrays do),
// and in the emulation, whose device memory is the host's, __array_interface__ (NumPy's).
//
// A DeviceArray is what the interface says, kept with the object that owns the memory.  The
// functions below it check an argument's dtype, and how it lies, in the words of arrays.h.
#pragma once

#include <pybind11/pybind11.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "cuda/ops.h"

namespace goturn::python {

#ifdef GOTURN_EMULATE_CUDA
inline constexpr const char* kArrayInterface = "__array_interface__";
#else
inline constexpr const char* kArrayInterface = "__cuda_array_interface__";
#endif

// How array interfaces name T, in the byte order of every machine with CUDA.
template <class T>
inline constexpr const char* kTypeString = nullptr;
template <>
inline constexpr const char* kTypeString<float> = "<f4";
template <>
inline constexpr const char* kTypeString<double> = "<f8";
template <>
inline constexpr const char* kTypeString<std::int8_t> = "|i1";
template <>
inline constexpr const char* kTypeString<std::uint8_t> = "|u1";
template <>
inline constexpr const char* kTypeString<std::uint16_t> = "<u2";
template <>
inline constexpr const char* kTypeString<std::int32_t> = "<i4";
template <>
inline constexpr const char* kTypeString<std::uint64_t> = "<u8";
inline constexpr const char* kHalfString = "<f2";

class DeviceArray {
 public:
  // `name` is the argument's, "conv2d: x"; `wanted` its dtype in words, for the error.
  DeviceArray(const py::object& object, std::string name, const std::string& wanted)
      : owner_(object), name_(std::move(name)) {
    const py::object found = py::getattr(object, kArrayInterface, py::none());
    if (!py::isinstance<py::dict>(found)) {
      const bool host = py::isinstance<py::array>(object);
      throw py::type_error(
          name_ + " must be an array of " + wanted + "; got " +
          (host ? "one in host memory, which from_numpy copies to the device" : type_name(object)));
    }
    try {
      parse(py::reinterpret_borrow<py::dict>(found));
    } catch (const std::exception&) {  // whatever Python has against it
      throw py::type_error(name_ + " has a " + kArrayInterface + " that makes no sense");
    }
  }

  const std::string& name() const { return name_; }
  void* data() const { return data_; }
  py::ssize_t itemsize() const { return itemsize_; }
  bool writeable() const { return writeable_; }
  py::ssize_t ndim() const { return static_cast<py::ssize_t>(shape_.size()); }
  py::ssize_t shape(py::ssize_t axis) const { return shape_[static_cast<std::size_t>(axis)]; }
  py::ssize_t strides(py::ssize_t axis) const { return strides_[static_cast<std::size_t>(axis)]; }
  const std::vector<py::ssize_t>& shape() const { return shape_; }
  py::ssize_t size() const {
    py::ssize_t count = 1;
    for (const py::ssize_t size : shape_) count *= size;
    return count;
  }

  template <class T>
  bool holds() const {
    return type_ == kTypeString<T>;
  }
  bool holds_half() const { return type_ == kHalfString; }
  std::string dtype() const { return py::str(py::dtype(type_)); }

  bool contiguous() const {
    py::ssize_t step = itemsize_;
    if (size() == 0) return true;
    for (std::size_t axis = shape_.size(); axis-- > 0;) {
      if (shape_[axis] > 1 && strides_[axis] != step) return false;
      step *= shape_[axis];
    }
    return true;
  }

  // The first byte of it, and the first behind it; equal where it is empty.
  std::pair<std::intptr_t, std::intptr_t> range() const {
    std::intptr_t first = reinterpret_cast<std::intptr_t>(data_);
    std::intptr_t last = first;
    if (size() == 0) return {first, last};
    for (std::size_t axis = 0; axis < shape_.size(); ++axis) {
      const std::intptr_t step = strides_[axis] * (shape_[axis] - 1);
      (step < 0 ? first : last) += step;
    }
    return {first, last + itemsize_};
  }

 private:
  void parse(const py::dict& interface) {
    type_ = interface["typestr"].cast<std::string>();
    const bool plain = type_.size() == 3 && type_[2] >= '1' && type_[2] <= '8';
    itemsize_ = plain ? type_[2] - '0' : py::dtype(type_).itemsize();
    const auto data = interface["data"].cast<py::tuple>();
    data_ = reinterpret_cast<void*>(data[0].cast<std::uintptr_t>());
    writeable_ = !data[1].cast<bool>();
    for (const py::handle& size : interface["shape"]) {
      shape_.push_back(size.cast<py::ssize_t>());
      if (shape_.back() < 0) throw std::invalid_argument("shape");
    }
    strides_.assign(shape_.size(), itemsize_);
    for (std::size_t axis = shape_.size(); axis-- > 1;) {
      strides_[axis - 1] = strides_[axis] * shape_[axis];
    }
    if (!interface.contains("strides") || interface["strides"].is_none()) return;
    const auto strides = interface["strides"].cast<py::tuple>();
    if (strides.size() != shape_.size()) throw std::invalid_argument("strides");
    for (std::size_t axis = 0; axis < shape_.size(); ++axis) {
      strides_[axis] = strides[axis].cast<py::ssize_t>();
    }
  }

  py::object owner_;
  std::string name_;
  std::string type_;
  void* data_ = nullptr;
  py::ssize_t itemsize_ = 0;
  bool writeable_ = false;
  std::vector<py::ssize_t> shape_;
  std::vector<py::ssize_t> strides_;
};

inline std::string shape_text(const DeviceArray& array) { return shape_text(array.shape()); }
inline std::vector<py::ssize_t> shape_of(const DeviceArray& array) { return array.shape(); }

[[noreturn]] inline void refuse_type(const DeviceArray& array, const std::string& wanted) {
  throw py::type_error(array.name() + " must be an array of " + wanted + "; got " + array.dtype());
}

inline void check_contiguous(const DeviceArray& array) {
  if (!array.contiguous()) throw std::invalid_argument(array.name() + " must be C-contiguous");
}

// `object` as an array of exactly T, at any strides.
template <class T = float>
DeviceArray device_array_of(const py::object& object, const std::string& name) {
  const std::string wanted = py::str(py::dtype::of<T>());
  DeviceArray array(object, name, wanted);
  if (!array.holds<T>()) refuse_type(array, wanted);
  return array;
}

// As device_array_of, in C order.
template <class T = float>
DeviceArray device_contiguous_of(const py::object& object, const std::string& name) {
  DeviceArray array = device_array_of<T>(object, name);
  check_contiguous(array);
  return array;
}

// A matrix of T as check_rows asks for.
template <class T = float>
DeviceArray device_rows_of(const py::object& object, const std::string& name) {
  DeviceArray array = device_array_of<T>(object, name);
  check_rows(array, name);
  return array;
}

// An array of float32, float16, or the bits of bfloat16 as uint16; in C order.
inline DeviceArray device_numbers_of(const py::object& object, const std::string& name) {
  const std::string wanted = "float32, float16 or uint16 (bfloat16)";
  DeviceArray array(object, name, wanted);
  if (!array.holds<float>() && !array.holds_half() && !array.holds<std::uint16_t>()) {
    refuse_type(array, wanted);
  }
  check_contiguous(array);
  return array;
}

// How an array's numbers are stored; one of those that device_numbers_of takes, or int8.
inline cuda::Type type_of(const DeviceArray& array) {
  if (array.holds<float>()) return cuda::Type::f32;
  if (array.holds_half()) return cuda::Type::f16;
  return array.holds<std::int8_t>() ? cuda::Type::i8 : cuda::Type::bf16;
}

// That `array` is of the dtype of `other`.
inline void check_same_type(const DeviceArray& array, const DeviceArray& other) {
  if (array.dtype() != other.dtype()) refuse_type(array, other.dtype());
}

// `check` of an argument that may be None.
template <class Check>
std::optional<DeviceArray> unless_none(const py::object& object, const std::string& name,
                                       const Check& check) {
  if (object.is_none()) return std::nullopt;
  return check(object, name);
}

inline void check_shape(const DeviceArray& array, const std::vector<py::ssize_t>& wanted) {
  if (array.shape() != wanted) {
    throw std::invalid_argument(array.name() + " has shape " + shape_text(array) + ", expected " +
                                shape_text(wanted));
  }
}

// An array that an operation writes: C-contiguous, of the shape wanted.
inline void check_output(const DeviceArray& array, const std::vector<py::ssize_t>& wanted) {
  check_contiguous(array);
  if (!array.writeable()) throw std::invalid_argument(array.name() + " must be writeable");
  check_shape(array, wanted);
}

// The same of an array of T.
template <class T = float>
DeviceArray device_output_of(const py::object& object, const std::string& name,
                             const std::vector<py::ssize_t>& wanted) {
  DeviceArray array = device_array_of<T>(object, name);
  check_output(array, wanted);
  return array;
}

// As device_contiguous_of<float>, changed in place by the operation.
inline DeviceArray device_changed_of(const py::object& object, const std::string& name) {
  DeviceArray array = device_contiguous_of<float>(object, name);
  if (!array.writeable()) {
    throw std::invalid_argument(name + " is changed in place and must be writeable");
  }
  return array;
}

// That no array of `written` shares memory with another argument.  Null pointers are arguments left
// out.
inline void check_apart(std::initializer_list<const DeviceArray*> written,
                        std::initializer_list<const DeviceArray*> read) {
  const auto check = [](const DeviceArray& one, const DeviceArray& other) {
    const auto [first, last] = one.range();
    const auto [other_first, other_last] = other.range();
    if (std::max(first, other_first) < std::min(last, other_last)) {
      const std::string name = other.name().substr(other.name().find(": ") + 2);
      throw std::invalid_argument(one.name() + " is written and must not share memory with " +
                                  name);
    }
  };
  for (auto one = written.begin(); one != written.end(); ++one) {
    if (*one == nullptr) continue;
    for (auto other = one + 1; other != written.end(); ++other) {
      if (*other != nullptr) check(**one, **other);
    }
    for (const DeviceArray* other : read) {
      if (other != nullptr) check(**one, *other);
    }
  }
}

inline const DeviceArray* pointer_to(const std::optional<DeviceArray>& array) {
  return array ? &*array : nullptr;
}

template <class T = float>
T* data_of(const DeviceArray& array) {
  return static_cast<T*>(array.data());
}

// Null for an argument left out.
template <class T = float>
T* data_of(const std::optional<DeviceArray>& array) {
  return array ? static_cast<T*>(array->data()) : nullptr;
}

inline cuda::Stream stream_of(std::uintptr_t stream) {
  return reinterpret_cast<cuda::Stream>(stream);
}

}  // namespace goturn::python
