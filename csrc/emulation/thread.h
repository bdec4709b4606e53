// The threads of a block as kernels and the emulation's headers see them.
//
// A block runs in one thread of the operating system.  Each CUDA thread is a fibre, which runs
// until it waits for others; the scheduler (scheduler.h) then goes on with the next one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulation/words.h"

namespace goturn::emulation {

// What a thread waits at.
enum class Operation : std::uint8_t {
  none,
  barrier,  // of the whole block
  barrier_count,
  barrier_and,
  barrier_or,
  sync_warp,  // of a warp
  shuffle,
  shuffle_up,
  shuffle_down,
  shuffle_xor,
  vote,
  load_matrix,
  load_matrix_transposed,
  mma_tf32,
  mma_f16,
  mma_bf16,
};

struct Fibre;

// A copy_async that no wait has completed.
struct Copy {
  const void* from;  // null: zeros
  unsigned to;       // a byte of shared memory
  unsigned bytes;
  unsigned group;
};

struct Thread {
  uint3 index;
  std::uint16_t id;    // in the block
  std::uint16_t lane;  // in the warp
  bool exited;
  Operation waits_at;
  Fibre* fibre;  // null before it starts

  // What it brings to an operation of its warp, and takes away.
  std::uint32_t mask;
  std::int32_t operand;
  std::int32_t width;
  std::uint64_t value;
  void* out;
  const void* in[2];

  unsigned group;  // the number of groups of copies it has ended
  std::vector<Copy> copies;
};

struct BlockIndex {
  uint3 block;
  dim3 grid;
  dim3 threads;
};

// Of the thread that runs.  The model spares a call at each use, but all thread-local memory of the
// module must then fit into what the loader keeps for modules that come late: pointers alone.
#define GOTURN_THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))
extern GOTURN_THREAD_LOCAL Thread* self;
extern GOTURN_THREAD_LOCAL BlockIndex* indices;
extern GOTURN_THREAD_LOCAL unsigned char* shared_memory;  // of the block
extern GOTURN_THREAD_LOCAL bool checks;                   // whether accesses are followed

// Reports an error of the running thread, or of `thread`, and ends the launch.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void fail_of(const Thread& thread, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

// Shared memory: bytes from `at` on, already known to be inside an array.  These keep the record of
// who has read and written, and report races and reads of nothing.
void follow_read(unsigned at, unsigned bytes);
void follow_write(unsigned at, unsigned bytes);
void follow_atomic(unsigned at, unsigned bytes);

// An array in shared memory, in bytes.
struct Array {
  unsigned start;
  unsigned bytes;
};
// The static array declared at `site`.
Array static_array(const void* site, const char* name, std::size_t bytes);
// `bytes` of the dynamic shared memory from `start` on.
Array dynamic_array(unsigned start, std::size_t bytes);

[[noreturn]] void fail_bounds(const Array& array, long long first, std::size_t bytes,
                              std::size_t value);
[[noreturn]] void fail_alignment(const char* what, std::uintptr_t address, std::size_t alignment);

inline void check_alignment(const char* what, const void* address, std::size_t alignment) {
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0) {
    fail_alignment(what, reinterpret_cast<std::uintptr_t>(address), alignment);
  }
}

// Where in shared memory `bytes` bytes from value `index` of an array of values of `value` bytes
// lie.
inline unsigned locate(const Array& array, long long index, std::size_t value, std::size_t bytes,
                       std::size_t alignment) {
  const long long first = index * static_cast<long long>(value);
  if (first < 0 || first + static_cast<long long>(bytes) > static_cast<long long>(array.bytes)) {
    fail_bounds(array, first, bytes, value);
  }
  const unsigned at = array.start + static_cast<unsigned>(first);
  if (at % alignment != 0) fail_alignment("an access to shared memory", at, alignment);
  return at;
}

void copy_async(unsigned to, const void* from, unsigned bytes, bool valid);
void copy_async_commit();
void copy_async_wait(unsigned pending);
void waited_for_previous_kernel();

// Warps and blocks.
std::uint64_t shuffle(Operation operation, std::uint32_t mask, std::uint64_t value, int operand,
                      int width);
std::uint32_t ballot(std::uint32_t mask, bool predicate);
void sync_warp(std::uint32_t mask);
int barrier(Operation operation, int predicate);
// `at` is where this lane's row of 16 bytes lies in shared memory.
void load_matrix(Operation operation, std::uint32_t (&to)[4], unsigned at);
void mma(Operation operation, float (&d)[4], const std::uint32_t (&a)[4],
         const std::uint32_t (&b)[2]);

}  // namespace goturn::emulation
