// Shared memory as kernels reach it: bounds, alignment, the record of accesses, asynchronous
// copies.
#include <cstdio>
#include <cstring>

#include "emulation/scheduler.h"

namespace goturn::emulation {
namespace {

// Reports what the record found of an access by `thread`.
[[noreturn]] void report(const Thread& thread, Fault fault, const char* verb) {
  const Shadow& shadow = scheduler->shadow;
  char place[120];
  scheduler->place(shadow.at, place, sizeof place);
  if (fault == Fault::unwritten) fail_of(thread, "%s %s, which nobody has written", verb, place);
  if (fault == Fault::pending_copy) {
    fail_of(thread, "%s %s, to which a copy_async is under way that no wait has completed", verb,
            place);
  }
  char other[60];
  if (shadow.other < kWarps) {
    const uint3& index = scheduler->thread(shadow.other).index;
    std::snprintf(other, sizeof other, "thread (%u, %u, %u)", index.x, index.y, index.z);
  } else if (shadow.other < kMany) {
    std::snprintf(other, sizeof other, "lanes of warp %d", shadow.other - kWarps);
  } else {
    std::snprintf(other, sizeof other, "%s",
                  shadow.other == kAtomic ? "an atomic" : "threads of several warps");
  }
  fail_of(thread, "%s %s, which %s %s with no barrier between", verb, place, other,
          fault == Fault::race_with_write ? "wrote" : "read");
}

}  // namespace

Array Scheduler::static_array(const void* site, const char* name, std::size_t bytes) {
  for (const StaticArray& known : static_arrays_) {
    if (known.site == site) return known.array;
  }
  const unsigned first = (dynamic_ + 15) / 16 * 16;
  if (used_ - first + bytes > kMaxStaticShared) {
    fail("static arrays take %zu bytes of shared memory; %u are the most", used_ - first + bytes,
         kMaxStaticShared);
  }
  if (used_ + bytes > most_shared(how.capability)) {
    fail("static and dynamic arrays take %zu bytes of shared memory; %u are the most",
         used_ + bytes, most_shared(how.capability));
  }
  const Array array{used_, static_cast<unsigned>(bytes)};
  static_arrays_.push_back({site, name, array});
  used_ += static_cast<unsigned>((bytes + 15) / 16 * 16);
  shadow.cover(used_);
  return array;
}

Array Scheduler::dynamic_array(unsigned start, std::size_t bytes) {
  if (start + bytes > dynamic_) {
    fail("takes %zu bytes of dynamic shared memory from byte %u on, of %u launched with", bytes,
         start, dynamic_);
  }
  return {start, static_cast<unsigned>(bytes)};
}

void Scheduler::place(unsigned at, char* text, std::size_t size) const {
  for (const StaticArray& known : static_arrays_) {
    if (at >= known.array.start && at - known.array.start < known.array.bytes) {
      std::snprintf(text, size, "byte %u of %s", at - known.array.start, known.name);
      return;
    }
  }
  std::snprintf(text, size, "byte %u of dynamic shared memory", at);
}

// -- accesses -------------------------------------------------------------------------------------

void follow_read(unsigned at, unsigned bytes) {
  const Fault fault = scheduler->shadow.read(scheduler->accessor(), at, bytes);
  if (__builtin_expect(fault != Fault::none, 0)) report(*self, fault, "reads");
}

void follow_read_by_warp(const Thread& lane, unsigned at, unsigned bytes) {
  Accessor accessor = scheduler->accessor();
  accessor.id = static_cast<std::uint16_t>(kWarps + accessor.warp);
  const Fault fault = scheduler->shadow.read(accessor, at, bytes);
  if (__builtin_expect(fault != Fault::none, 0)) report(lane, fault, "reads");
}

void follow_write(unsigned at, unsigned bytes) {
  const Fault fault = scheduler->shadow.write(scheduler->accessor(), at, bytes);
  if (__builtin_expect(fault != Fault::none, 0)) report(*self, fault, "writes");
}

void follow_atomic(unsigned at, unsigned bytes) {
  const Fault fault = scheduler->shadow.atomic(scheduler->accessor(), at, bytes);
  if (__builtin_expect(fault != Fault::none, 0)) report(*self, fault, "changes atomically");
}

Array static_array(const void* site, const char* name, std::size_t bytes) {
  return scheduler->static_array(site, name, bytes);
}

Array dynamic_array(unsigned start, std::size_t bytes) {
  return scheduler->dynamic_array(start, bytes);
}

void fail_bounds(const Array& array, long long first, std::size_t bytes, std::size_t value) {
  char place[120];
  scheduler->place(array.start, place, sizeof place);
  fail("reaches for %zu bytes at value %lld of an array of %llu values (%s is its first)", bytes,
       first / static_cast<long long>(value), static_cast<unsigned long long>(array.bytes / value),
       place);
}

void fail_alignment(const char* what, std::uintptr_t address, std::size_t alignment) {
  fail("%s at address %#llx, which is not a multiple of %zu", what,
       static_cast<unsigned long long>(address), alignment);
}

// -- asynchronous copies --------------------------------------------------------------------------

void copy_async(unsigned to, const void* from, unsigned bytes, bool valid) {
  check_alignment("copy_async from global memory", from, bytes);
  if (checks) {
    const Fault fault = scheduler->shadow.begin_copy(scheduler->accessor(), to, bytes);
    if (__builtin_expect(fault != Fault::none, 0)) report(*self, fault, "copies to");
  }
  self->copies.push_back({valid ? from : nullptr, to, bytes, self->group});
}

void copy_async_commit() { ++self->group; }

void copy_async_wait(unsigned pending) {
  std::vector<Copy>& copies = self->copies;
  const Accessor accessor = scheduler->accessor();
  std::size_t done = 0;
  for (; done < copies.size() && copies[done].group + pending < self->group; ++done) {
    const Copy& copy = copies[done];
    if (copy.from != nullptr) {
      std::memcpy(shared_memory + copy.to, copy.from, copy.bytes);
    } else {
      std::memset(shared_memory + copy.to, 0, copy.bytes);
    }
    if (checks) scheduler->shadow.end_copy(accessor, copy.to, copy.bytes);
  }
  copies.erase(copies.begin(), copies.begin() + static_cast<std::ptrdiff_t>(done));
}

}  // namespace goturn::emulation
