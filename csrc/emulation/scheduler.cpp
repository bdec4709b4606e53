#include "emulation/scheduler.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>

#include "emulation/settings.h"

namespace goturn::emulation {

GOTURN_THREAD_LOCAL Thread* self = nullptr;
GOTURN_THREAD_LOCAL BlockIndex* indices = nullptr;
GOTURN_THREAD_LOCAL unsigned char* shared_memory = nullptr;
GOTURN_THREAD_LOCAL bool checks = true;
GOTURN_THREAD_LOCAL Scheduler* scheduler = nullptr;

namespace {

constexpr unsigned kMaxThreads = 1024;
constexpr std::uint32_t kLateClock = 0x80000000;

std::string words(const uint3& index) {
  return "(" + std::to_string(index.x) + ", " + std::to_string(index.y) + ", " +
         std::to_string(index.z) + ")";
}

unsigned lowest(std::uint32_t mask) { return static_cast<unsigned>(__builtin_ctz(mask)); }

}  // namespace

Scheduler::Scheduler()
    : main_(make_main_fibre()), threads_(kMaxThreads), memory_(kMaxShared + kMaxStaticShared) {}

Scheduler::~Scheduler() {
  for (Fibre* fibre : fibres_) destroy_fibre(fibre);
  destroy_fibre(main_);
}

// -- launches -------------------------------------------------------------------------------------

void Scheduler::check(const Geometry& geometry) const {
  const auto refuse = [&](const std::string& what) {
    throw std::runtime_error(std::string("kernel ") + name_ + ": " + what);
  };
  const dim3& grid = geometry.grid;
  const dim3& block = geometry.block;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7FFFFFFFU || grid.y > 65535 ||
      grid.z > 65535) {
    refuse("a grid of " + words(grid) + " blocks cannot be launched");
  }
  if (block.x == 0 || block.y == 0 || block.z == 0 || block.x > 1024 || block.y > 1024 ||
      block.z > 64 || std::uint64_t{block.x} * block.y * block.z > kMaxThreads) {
    refuse("a block of " + words(block) + " threads cannot be launched");
  }
  const unsigned most = most_shared(how.capability);
  if (geometry.shared_bytes > most) {
    refuse(std::to_string(geometry.shared_bytes) + " bytes of shared memory are more than the " +
           std::to_string(most) + " that there are");
  }
}

void Scheduler::start_launch(const char* name, const Geometry& geometry) {
  name_ = name;
  how = settings();
  check(geometry);
  checks = how.checks;
  failed_ = false;
  waited_for_previous = false;
  count_ = geometry.block.x * geometry.block.y * geometry.block.z;
  dynamic_ = static_cast<unsigned>(geometry.shared_bytes);
  used_ = (dynamic_ + 15) / 16 * 16;
  static_arrays_.clear();
  if (clock_ > kLateClock) {
    clock_ = 0;
    shadow.clear();
  }
  shadow.cover(used_);
  indices_.grid = geometry.grid;
  indices_.threads = geometry.block;
  unsigned id = 0;
  for (unsigned z = 0; z < geometry.block.z; ++z) {
    for (unsigned y = 0; y < geometry.block.y; ++y) {
      for (unsigned x = 0; x < geometry.block.x; ++x, ++id) {
        threads_[id].index = {x, y, z};
        threads_[id].id = static_cast<std::uint16_t>(id);
        threads_[id].lane = static_cast<std::uint16_t>(id % 32);
      }
    }
  }
  indices = &indices_;
  shared_memory = memory_.data();
  scheduler = this;
}

void Scheduler::start_block(std::uint64_t number) {
  const dim3& grid = indices_.grid;
  indices_.block = {static_cast<unsigned>(number % grid.x),
                    static_cast<unsigned>(number / grid.x % grid.y),
                    static_cast<unsigned>(number / grid.x / grid.y)};
  for (unsigned id = 0; id < count_; ++id) {
    Thread& thread = threads_[id];
    thread.exited = false;
    thread.waits_at = Operation::none;
    thread.fibre = nullptr;
    thread.group = 0;
    if (!thread.copies.empty()) {  // of the block before, which needed them no more
      if (checks) {
        for (const Copy& copy : thread.copies) shadow.forget(copy.to, copy.bytes);
      }
      thread.copies.clear();
    }
  }
  ++clock_;
  shadow.begin_block(clock_);
  ready_ = 0;
  for (unsigned warp = 0; warp * 32 < count_; ++warp) {
    const unsigned lanes = count_ - warp * 32;
    const std::uint32_t exists = lanes >= 32 ? 0xFFFFFFFFU : (1U << lanes) - 1;
    warps_[warp] = {exists, 0, 0, exists, clock_};
    ready_ |= 1U << warp;
  }
  exited_ = arrived_ = 0;
  if (!checks) std::memset(memory_.data(), 0xFF, used_);  // what nobody wrote is at least no number
}

void Scheduler::run(const char* name, const Geometry& geometry, void (*body)(const void*),
                    const void* arguments) {
  if (running_) throw std::runtime_error(std::string("kernel ") + name + ": launched by a kernel");
  start_launch(name, geometry);
  body_ = body;
  arguments_ = arguments;
  // Blocks in an order that no kernel can rely on: all multiples of a step that shares no factor
  // with their number.
  const std::uint64_t blocks = std::uint64_t{geometry.grid.x} * geometry.grid.y * geometry.grid.z;
  std::uint64_t step = 1;
  std::uint64_t block = 0;
  if (how.seed != 0) {
    const std::uint64_t scrambled = how.seed * 0x9E3779B97F4A7C15U;
    step = blocks * 5 / 8 + scrambled % 1009;
    while (std::gcd(step, blocks) != 1) ++step;
    step %= blocks;
    block = (scrambled >> 20) % blocks;
  }
  running_ = true;
  for (std::uint64_t i = 0; i < blocks && !failed_; ++i) {
    start_block(block);
    live();
    block = (block + step) % blocks;
  }
  running_ = false;
  self = nullptr;
  if (failed_) {
    for (unsigned id = 0; id < count_; ++id) threads_[id].copies.clear();
    shadow.clear();
    free_ = fibres_;
    throw std::runtime_error(error_);
  }
  if (geometry.overlap_previous && !waited_for_previous) {
    throw std::runtime_error(std::string("kernel ") + name +
                             ": launched to overlap the previous one, but never waits for it");
  }
}

// Runs a block to its end, or to its first error.
void Scheduler::live() {
  const unsigned first = how.seed % ((count_ + 31) / 32);
  self = &threads_[first * 32 + next_lane(warps_[first].can_run, 0)];
  self->fibre = take_fibre();
  switch_fibre(main_, self->fibre);
}

// -- switching ------------------------------------------------------------------------------------

// Of the lanes that can run, the next in order after `lane`.
unsigned Scheduler::next_lane(std::uint32_t can_run, unsigned lane) const {
  if (how.seed != 0 && how.seed % 2 == 0) {
    const std::uint32_t lower = can_run & ((1U << lane) - 1);
    return 31U - static_cast<unsigned>(__builtin_clz(lower != 0 ? lower : can_run));
  }
  const std::uint32_t higher = can_run & 0xFFFFFFFEU << lane;
  return lowest(higher != 0 ? higher : can_run);
}

// The thread to go on with when the running one cannot: of its warp, then of the next.
Thread* Scheduler::choose() {
  unsigned number = self->id / 32;
  if (warps_[number].can_run != 0) {
    return &threads_[number * 32 + next_lane(warps_[number].can_run, self->lane)];
  }
  ready_ &= ~(1U << number);
  if (ready_ == 0) return nullptr;
  const std::uint32_t later = ready_ & 0xFFFFFFFEU << number;
  number = lowest(later != 0 ? later : ready_);
  return &threads_[number * 32 + next_lane(warps_[number].can_run, self->lane)];
}

Fibre* Scheduler::take_fibre() {
  if (free_.empty()) {
    fibres_.push_back(make_fibre(static_cast<unsigned>(fibres_.size())));
    free_.push_back(fibres_.back());
  }
  Fibre* fibre = free_.back();
  free_.pop_back();
  prepare(fibre, &Scheduler::enter);
  return fibre;
}

void Scheduler::go_to(Thread* thread) {
  if (thread == nullptr) report_stuck();
  if (thread->fibre == nullptr) thread->fibre = take_fibre();
  Fibre* from = self->fibre;
  self = thread;
  switch_fibre(from, thread->fibre);
}

// What a fibre does: a thread to its end, and then others that have not begun.
void Scheduler::enter() {
  entered();
  Scheduler& s = *scheduler;
  for (;;) {
    try {
      s.body_(s.arguments_);
    } catch (...) {
      s.abandon(*self, "throws an exception");
    }
    Thread& thread = *self;
    Warp& warp = s.warp();
    thread.exited = true;
    warp.exited |= 1U << thread.lane;
    warp.can_run &= ~(1U << thread.lane);
    ++s.exited_;
    Fibre* fibre = thread.fibre;
    if (s.exited_ == s.count_) {
      s.free_.push_back(fibre);
      switch_fibre(fibre, s.main_, true);
    }
    Thread* next = s.choose();
    if (next == nullptr) s.report_stuck();
    thread.fibre = nullptr;
    self = next;
    if (next->fibre == nullptr) {
      next->fibre = fibre;
    } else {
      s.free_.push_back(fibre);
      switch_fibre(fibre, next->fibre, true);
    }
  }
}

void Scheduler::abandon(const Thread& thread, const char* text) {
  const uint3& b = indices_.block;
  const uint3& t = thread.index;
  std::snprintf(error_, sizeof error_, "kernel %s, block (%u, %u, %u), thread (%u, %u, %u): %s",
                name_, b.x, b.y, b.z, t.x, t.y, t.z, text);
  failed_ = true;
  switch_fibre(self->fibre, main_, true);
  __builtin_unreachable();
}

// -- what kernels call ----------------------------------------------------------------------------

void fail_of(const Thread& thread, const char* format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  scheduler->abandon(thread, text);
}

void fail(const char* format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  scheduler->abandon(*self, text);
}

void run(const char* name, const Geometry& geometry, void (*body)(const void*),
         const void* arguments) {
  static thread_local std::unique_ptr<Scheduler> of_this_thread;  // a pointer: see thread.h
  if (of_this_thread == nullptr) of_this_thread = std::make_unique<Scheduler>();
  of_this_thread->run(name, geometry, body, arguments);
}

void waited_for_previous_kernel() { scheduler->waited_for_previous = true; }

}  // namespace goturn::emulation
