// Memory for packed weights and activations.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <memory>
#include <new>

namespace goturn::cpu {

struct Free {
  void operator()(void* pointer) const { std::free(pointer); }
};
template <class Value>
using Buffer = std::unique_ptr<Value[], Free>;
using Floats = Buffer<float>;

// The product of sizes; std::bad_alloc where so many floats cannot be had anyway.
inline std::int64_t values_of(std::initializer_list<std::int64_t> sizes) {
  constexpr std::int64_t limit = std::numeric_limits<std::int64_t>::max() / 16;
  std::int64_t product = 1;
  for (const std::int64_t size : sizes) {
    if (size > 0 && product > limit / size) throw std::bad_alloc();
    product *= size;
  }
  return product;
}

// `count` numbers, aligned for any vector, of any value.
template <class Value>
Buffer<Value> buffer_of(std::int64_t count) {
  const std::size_t bytes = (static_cast<std::size_t>(count) * sizeof(Value) + 63) / 64 * 64;
  void* memory = std::aligned_alloc(64, std::max<std::size_t>(bytes, 64));
  if (memory == nullptr) throw std::bad_alloc();
  return Buffer<Value>(static_cast<Value*>(memory));
}

// `count` zeros, aligned for any vector.
template <class Value>
Buffer<Value> zeros_of(std::int64_t count) {
  Buffer<Value> memory = buffer_of<Value>(count);
  std::memset(memory.get(), 0, static_cast<std::size_t>(count) * sizeof(Value));
  return memory;
}

inline Floats floats(std::int64_t count) { return buffer_of<float>(count); }
inline Floats zeros(std::int64_t count) { return zeros_of<float>(count); }

inline std::int64_t round_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step * step;
}

inline std::int64_t divide_up(std::int64_t value, std::int64_t step) {
  return (value + step - 1) / step;
}

}  // namespace goturn::cpu
