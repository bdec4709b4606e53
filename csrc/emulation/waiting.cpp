// Waiting: operations that a warp's lanes meet at, barriers, and what is said where they wait for
// ever.
#include "emulation/scheduler.h"

namespace goturn::emulation {
namespace {

unsigned lowest(std::uint32_t mask) { return static_cast<unsigned>(__builtin_ctz(mask)); }

}  // namespace

const char* name_of(Operation operation) {
  switch (operation) {
    case Operation::none:
      break;
    case Operation::barrier:
      return "__syncthreads";
    case Operation::barrier_count:
      return "__syncthreads_count";
    case Operation::barrier_and:
      return "__syncthreads_and";
    case Operation::barrier_or:
      return "__syncthreads_or";
    case Operation::sync_warp:
      return "__syncwarp";
    case Operation::shuffle:
      return "__shfl_sync";
    case Operation::shuffle_up:
      return "__shfl_up_sync";
    case Operation::shuffle_down:
      return "__shfl_down_sync";
    case Operation::shuffle_xor:
      return "__shfl_xor_sync";
    case Operation::vote:
      return "a vote";
    case Operation::load_matrix:
      return "load_matrix_x4";
    case Operation::load_matrix_transposed:
      return "load_matrix_x4_transposed";
    case Operation::mma_tf32:
      return "mma_tf32";
    case Operation::mma_f16:
      return "mma_f16";
    case Operation::mma_bf16:
      return "mma_bf16";
  }
  return "nothing";
}

bool Scheduler::meet(Operation operation) {
  Thread& thread = *self;
  Warp& group = warp();
  const std::uint32_t bit = 1U << thread.lane;
  const std::uint32_t expected = thread.mask & group.exists;
  if ((thread.mask & bit) == 0) {
    fail("calls %s with a mask, %#x, that does not name its lane", name_of(operation), thread.mask);
  }
  if ((expected & group.exited) != 0) {
    const uint3& gone = lane(lowest(expected & group.exited)).index;
    fail("waits at %s for thread (%u, %u, %u), which has exited", name_of(operation), gone.x,
         gone.y, gone.z);
  }
  thread.waits_at = operation;
  group.waiting |= bit;
  if ((expected & ~group.waiting) != 0) {
    group.can_run &= ~bit;
    go_to(choose());
    return false;
  }
  for (std::uint32_t rest = expected; rest != 0; rest &= rest - 1) {
    const Thread& other = lane(lowest(rest));
    if (other.waits_at != operation) {
      fail("waits at %s for thread (%u, %u, %u), which waits at %s", name_of(operation),
           other.index.x, other.index.y, other.index.z, name_of(other.waits_at));
    }
    if (other.mask != thread.mask) {
      fail("calls %s with the mask %#x, and thread (%u, %u, %u) with %#x", name_of(operation),
           thread.mask, other.index.x, other.index.y, other.index.z, other.mask);
    }
  }
  return true;
}

void Scheduler::release(std::uint32_t mask) {
  Warp& group = warp();
  mask &= group.exists;
  group.waiting &= ~mask;
  group.can_run |= mask;
  for (std::uint32_t rest = mask; rest != 0; rest &= rest - 1) {
    lane(lowest(rest)).waits_at = Operation::none;
  }
}

void Scheduler::sync_warp() {
  if (!meet(Operation::sync_warp)) return;
  Warp& group = warp();
  // Of a part of the warp, it orders nothing here, which may report a race that is none.
  if ((group.exists & ~group.exited & ~self->mask) == 0) group.now = ++clock_;
  release(self->mask);
}

int Scheduler::barrier(Operation operation, int predicate) {
  if (exited_ != 0) {
    for (unsigned id = 0; id < count_; ++id) {
      const Thread& gone = threads_[id];
      if (gone.exited) {
        fail("waits at %s for thread (%u, %u, %u), which has exited", name_of(operation),
             gone.index.x, gone.index.y, gone.index.z);
      }
    }
  }
  if (arrived_ == 0) {
    barrier_ = operation;
    held_ = 0;
  } else if (barrier_ != operation) {
    fail("waits at %s while others wait at %s", name_of(operation), name_of(barrier_));
  }
  held_ += predicate != 0 ? 1 : 0;
  ++arrived_;
  if (arrived_ < count_) {
    self->waits_at = operation;
    warp().can_run &= ~(1U << self->lane);
    go_to(choose());
    return result_;
  }
  arrived_ = 0;
  result_ = operation == Operation::barrier_count ? held_
            : operation == Operation::barrier_and
                ? static_cast<int>(held_ == static_cast<int>(count_))
                : static_cast<int>(held_ > 0);
  shadow.pass_barrier(++clock_);
  for (unsigned id = 0; id < count_; ++id) threads_[id].waits_at = Operation::none;
  for (unsigned warp = 0; warp * 32 < count_; ++warp) {
    warps_[warp].can_run = warps_[warp].exists;
    warps_[warp].now = clock_;
    ready_ |= 1U << warp;
  }
  return result_;
}

// Nothing can run and some wait: says for whom the first of them waits.
void Scheduler::report_stuck() {
  const Thread* waiting = nullptr;
  for (unsigned id = 0; id < count_ && waiting == nullptr; ++id) {
    if (!threads_[id].exited) waiting = &threads_[id];
  }
  const bool at_barrier = waiting->waits_at <= Operation::barrier_or;
  const unsigned warp = waiting->id / 32U;
  for (unsigned id = 0; id < count_; ++id) {
    const Thread& other = threads_[id];
    if (!at_barrier && (id / 32 != warp || (waiting->mask >> id % 32 & 1U) == 0)) continue;
    if (other.exited) {
      fail_of(*waiting, "waits at %s for thread (%u, %u, %u), which has exited",
              name_of(waiting->waits_at), other.index.x, other.index.y, other.index.z);
    }
    if (other.waits_at != waiting->waits_at) {
      fail_of(*waiting, "waits at %s for thread (%u, %u, %u), which waits at %s",
              name_of(waiting->waits_at), other.index.x, other.index.y, other.index.z,
              name_of(other.waits_at));
    }
  }
  fail_of(*waiting, "waits at %s for ever", name_of(waiting->waits_at));
}

void need_whole_warp(Operation operation) {
  self->mask = 0xFFFFFFFFU;
  if (scheduler->warp().exists != self->mask) {
    fail("calls %s in a warp of fewer than 32 threads", name_of(operation));
  }
}

int barrier(Operation operation, int predicate) { return scheduler->barrier(operation, predicate); }

void sync_warp(std::uint32_t mask) {
  self->mask = mask;
  scheduler->sync_warp();
}

}  // namespace goturn::emulation
