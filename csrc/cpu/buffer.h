// Memory for packed weights and activations.
#pragma once

#include <stdlib.h>
#include <sys/mman.h>

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

// `bytes` of memory, aligned for any vector.  Much of it is asked for in pages of 2 MiB, with which
// a core spends less time on finding where they are; the system may refuse.
inline void* allocate(std::size_t bytes) {
  constexpr std::size_t vector = 64, page = std::size_t{1} << 21, much = 2 * page;
  void* memory = nullptr;
  const std::size_t alignment = bytes >= much ? page : vector;
  if (posix_memalign(&memory, alignment, std::max(bytes, vector)) != 0) throw std::bad_alloc();
#if defined(MADV_HUGEPAGE)
  if (bytes >= much) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  return memory;
}

// `count` numbers, aligned for any vector, of any value.
template <class Value>
Buffer<Value> buffer_of(std::int64_t count) {
  return Buffer<Value>(
      static_cast<Value*>(allocate(static_cast<std::size_t>(count) * sizeof(Value))));
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
