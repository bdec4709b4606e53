// What csrc/cuda/platform.h names, for the emulation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "emulation/intrinsics.h"
#include "emulation/thread.h"
#include "emulation/words.h"

namespace goturn::emulation {

// Runs `body(arguments)` in every thread of the grid.  Throws std::runtime_error with the kernel's
// name, the block, the thread and what was wrong.
struct Geometry {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes;
  bool overlap_previous;
};
void run(const char* name, const Geometry& geometry, void (*body)(const void*),
         const void* arguments);

// s[i]: what is read and what is written is told apart.  Only to be used at once: keep a value in a
// variable of its type, not of `auto`.
template <class T>
class Reference {
 public:
  Reference(const Array& array, long long index) : array_(array), index_(index) {}
  Reference(const Reference&) = delete;

  operator T() const&& { return get(); }                      // NOLINT: as a reference does
  T operator=(const T& value) const&& { return set(value); }  // NOLINT
  T operator=(Reference&& other) const&& { return set(other.get()); }  // NOLINT
  template <class U>
  T operator+=(const U& value) const&& {
    return set(static_cast<T>(get() + value));
  }
  template <class U>
  T operator-=(const U& value) const&& {
    return set(static_cast<T>(get() - value));
  }
  template <class U>
  T operator*=(const U& value) const&& {
    return set(static_cast<T>(get() * value));
  }
  template <class U>
  T operator|=(const U& value) const&& {
    return set(static_cast<T>(get() | value));
  }
  T operator++() const&& { return set(static_cast<T>(get() + 1)); }

  // For atomics.
  struct Pointer {
    using Value = T;
    Array array;
    long long index;
  };
  Pointer operator&() const&& { return {array_, index_}; }  // NOLINT

 private:
  T get() const {
    const unsigned at = locate(array_, index_, sizeof(T), sizeof(T), alignof(T));
    if (checks) follow_read(at, sizeof(T));
    T value;
    std::memcpy(&value, shared_memory + at, sizeof value);
    return value;
  }
  T set(const T& value) const {
    const unsigned at = locate(array_, index_, sizeof(T), sizeof(T), alignof(T));
    if (checks) follow_write(at, sizeof(T));
    std::memcpy(shared_memory + at, &value, sizeof value);
    return value;
  }

  Array array_;
  long long index_;
};

}  // namespace goturn::emulation

#define threadIdx (::goturn::emulation::self->index)
#define blockIdx (::goturn::emulation::indices->block)
#define blockDim (::goturn::emulation::indices->threads)
#define gridDim (::goturn::emulation::indices->grid)

namespace goturn::cuda {

struct Launch {
  dim3 grid;
  dim3 block;
  std::size_t shared_bytes = 0;
  bool overlap_previous = false;
};

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const Launch& how, void* /*stream*/,
            const Arguments&... arguments) {
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::remove_cv_t<Parameters>...> values;
  };
  const Call call{kernel, {static_cast<Parameters>(arguments)...}};
  emulation::run(
      name, {how.grid, how.block, how.shared_bytes, how.overlap_previous},
      [](const void* data) {
        const auto& made = *static_cast<const Call*>(data);
        std::apply(made.kernel, made.values);
      },
      &call);
}

template <class T>
class Shared {
 public:
  explicit Shared(const emulation::Array& array, int offset = 0) : array_(array), offset_(offset) {}

  emulation::Reference<T> operator[](int index) const {
    return {array_, static_cast<long long>(offset_) + index};
  }
  Shared operator+(int offset) const { return Shared(array_, offset_ + offset); }
  template <class V>
  V load(int index) const {
    const unsigned at = emulation::locate(array_, static_cast<long long>(offset_) + index,
                                          sizeof(T), sizeof(V), alignof(V));
    if (emulation::checks) emulation::follow_read(at, sizeof(V));
    V vector;
    std::memcpy(&vector, emulation::shared_memory + at, sizeof vector);
    return vector;
  }
  template <class V>
  void store(int index, const V& vector) const {
    const unsigned at = emulation::locate(array_, static_cast<long long>(offset_) + index,
                                          sizeof(T), sizeof(V), alignof(V));
    if (emulation::checks) emulation::follow_write(at, sizeof(V));
    std::memcpy(emulation::shared_memory + at, &vector, sizeof vector);
  }
  // Of `bytes` bytes from `index` on, aligned to that.
  unsigned address(int index, unsigned bytes = sizeof(T)) const {
    return emulation::locate(array_, static_cast<long long>(offset_) + index, sizeof(T), bytes,
                             bytes);
  }

 private:
  emulation::Array array_;
  int offset_;
};

#define GOTURN_SHARED(T, name, count)                                     \
  static char name##_site;                                                \
  const ::goturn::cuda::Shared<T> name(::goturn::emulation::static_array( \
      &name##_site, #name, sizeof(T) * static_cast<std::size_t>(count)))

class SharedMemory {
 public:
  template <class T>
  Shared<T> take(int count) {
    const auto bytes = static_cast<std::size_t>(count) * sizeof(T);
    const Shared<T> taken(emulation::dynamic_array(static_cast<unsigned>(taken_), bytes));
    taken_ += shared_size<T>(count);
    return taken;
  }
  template <class T>
  static constexpr int shared_size(int count) {
    return (count * static_cast<int>(sizeof(T)) + 15) / 16 * 16;
  }

 private:
  int taken_ = 0;
};

// The copy is made when a wait completes its group, and no earlier.
template <int kBytes, class T>
void copy_async(const Shared<T>& to, int index, const T* from, bool valid = true) {
  static_assert(kBytes == 4 || kBytes == 8 || kBytes == 16);
  emulation::copy_async(to.address(index, kBytes), from, kBytes, valid);
}
inline void copy_async_commit() { emulation::copy_async_commit(); }
template <int kPending>
void copy_async_wait() {
  emulation::copy_async_wait(kPending);
}

inline void wait_for_previous_kernel() { emulation::waited_for_previous_kernel(); }
inline void let_next_kernel_start() {}

}  // namespace goturn::cuda
