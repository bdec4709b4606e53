// Runs the threads of one block after another's, in one thread of the operating system.
#pragma once

#include <cstdint>
#include <vector>

#include "emulation/fibre.h"
#include "emulation/platform.h"
#include "emulation/settings.h"
#include "emulation/shadow.h"
#include "emulation/thread.h"

namespace goturn::emulation {

// Bytes of shared memory that a block can have, at most and by compute capability; of static
// arrays.
inline constexpr unsigned kMaxShared = 227 * 1024;
inline constexpr unsigned kMaxStaticShared = 48 * 1024;
inline unsigned most_shared(int capability) {
  if (capability >= 90) return kMaxShared;
  if (capability == 80 || capability == 87) return 163 * 1024;
  return capability >= 80 ? 99 * 1024 : 64 * 1024;
}

struct Warp {
  std::uint32_t exists;  // lanes
  std::uint32_t exited;
  std::uint32_t waiting;  // at an operation of the warp
  std::uint32_t can_run;  // not started, or suspended and not waiting
  std::uint32_t now;      // the time of its latest __syncwarp or barrier
};

class Scheduler {
 public:
  Scheduler();
  ~Scheduler();
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  void run(const char* name, const Geometry& geometry, void (*body)(const void*),
           const void* arguments);

  // The thread that runs waits at `operation` of its warp with the lanes of its mask.  True in the
  // one that came last, which does the work for all and then calls release(); the others come back
  // with false when that is done.
  bool meet(Operation operation);
  void release(std::uint32_t mask);
  int barrier(Operation operation, int predicate);

  const Thread& thread(unsigned id) const { return threads_[id]; }
  Thread& lane(unsigned index) { return threads_[self->id / 32 * 32 + index]; }
  Warp& warp() { return warps_[self->id / 32]; }
  void sync_warp();
  Accessor accessor() { return {self->id, static_cast<std::uint16_t>(self->id / 32), warp().now}; }

  Array static_array(const void* site, const char* name, std::size_t bytes);
  Array dynamic_array(unsigned start, std::size_t bytes);
  // In which array byte `at` lies, in words.
  void place(unsigned at, char* text, std::size_t size) const;

  // Ends the launch with an error of `thread`.
  [[noreturn]] void abandon(const Thread& thread, const char* text);

  Shadow shadow;
  bool waited_for_previous = false;
  Settings how;  // of this launch

 private:
  static void enter();
  void check(const Geometry& geometry) const;
  void start_launch(const char* name, const Geometry& geometry);
  void start_block(std::uint64_t number);
  void live();
  Thread* choose();
  unsigned next_lane(std::uint32_t can_run, unsigned lane) const;
  Fibre* take_fibre();
  void go_to(Thread* thread);
  [[noreturn]] void report_stuck();

  struct StaticArray {
    const void* site;
    const char* name;
    Array array;
  };

  Fibre* main_;
  std::vector<Fibre*> fibres_;  // all
  std::vector<Fibre*> free_;
  std::vector<Thread> threads_;
  std::vector<unsigned char> memory_;
  std::vector<StaticArray> static_arrays_;
  Warp warps_[32] = {};
  BlockIndex indices_{};

  const char* name_ = nullptr;
  void (*body_)(const void*) = nullptr;
  const void* arguments_ = nullptr;
  unsigned count_ = 0;       // threads of a block
  unsigned dynamic_ = 0;     // bytes
  unsigned used_ = 0;        // bytes, static arrays included
  std::uint32_t ready_ = 0;  // warps with lanes that can run
  std::uint32_t clock_ = 0;

  unsigned exited_ = 0;
  unsigned arrived_ = 0;  // at the barrier
  int held_ = 0;          // for how many of them the predicate is true
  int result_ = 0;
  Operation barrier_ = Operation::none;

  char error_[600];
  bool failed_ = false;
  bool running_ = false;
};

extern GOTURN_THREAD_LOCAL Scheduler* scheduler;

const char* name_of(Operation operation);

// Sets the mask of the running thread to all lanes of its warp, which must all exist.
void need_whole_warp(Operation operation);

// A read for all lanes of the running warp, of what `lane` gave the address.
void follow_read_by_warp(const Thread& lane, unsigned at, unsigned bytes);

}  // namespace goturn::emulation
