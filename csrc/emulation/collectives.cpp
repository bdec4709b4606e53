// Operations of a whole warp.  Lanes bring their operands and wait; the last one works for all.
#include <cstring>

#include "emulation/scheduler.h"

namespace goturn::emulation {
namespace {

// Where lane `lane` takes its value from, by the PTX manual: `lane` itself where that would be
// outside its part of `width` lanes.
unsigned source(Operation operation, unsigned lane, int operand, int width) {
  const auto size = static_cast<unsigned>(width);
  const unsigned first = lane & ~(size - 1);
  const auto by = static_cast<unsigned>(operand);
  switch (operation) {
    case Operation::shuffle:
      return first | (by & (size - 1));
    case Operation::shuffle_up:
      return by > lane - first ? lane : lane - by;
    case Operation::shuffle_down:
      return by > first + size - 1 - lane ? lane : lane + by;
    default:
      return (lane ^ by) > first + size - 1 ? lane : lane ^ by;
  }
}

}  // namespace

std::uint64_t shuffle(Operation operation, std::uint32_t mask, std::uint64_t value, int operand,
                      int width) {
  if (width < 1 || width > 32 || (width & (width - 1)) != 0) {
    fail("calls %s with a width of %d", name_of(operation), width);
  }
  Thread& me = *self;
  me.mask = mask;
  me.value = value;
  me.operand = operand;
  me.width = width;
  if (!scheduler->meet(operation)) return me.value;
  const std::uint32_t there = mask & scheduler->warp().exists;
  std::uint64_t given[32];
  for (unsigned lane = 0; lane < 32; ++lane) given[lane] = scheduler->lane(lane).value;
  for (std::uint32_t rest = there; rest != 0; rest &= rest - 1) {
    const auto index = static_cast<unsigned>(__builtin_ctz(rest));
    Thread& lane = scheduler->lane(index);
    const unsigned from = source(operation, index, lane.operand, lane.width);
    if ((there >> from & 1U) == 0) {
      fail_of(lane, "takes the value of lane %u by %s, which does not take part", from,
              name_of(operation));
    }
    lane.value = given[from];
  }
  scheduler->release(mask);
  return me.value;
}

std::uint32_t ballot(std::uint32_t mask, bool predicate) {
  Thread& me = *self;
  me.mask = mask;
  me.value = predicate ? 1 : 0;
  if (!scheduler->meet(Operation::vote)) return static_cast<std::uint32_t>(me.value);
  const std::uint32_t there = mask & scheduler->warp().exists;
  std::uint32_t votes = 0;
  for (std::uint32_t rest = there; rest != 0; rest &= rest - 1) {
    const auto index = static_cast<unsigned>(__builtin_ctz(rest));
    if (scheduler->lane(index).value != 0) votes |= 1U << index;
  }
  for (std::uint32_t rest = there; rest != 0; rest &= rest - 1) {
    scheduler->lane(static_cast<unsigned>(__builtin_ctz(rest))).value = votes;
  }
  scheduler->release(mask);
  return votes;
}

void load_matrix(Operation operation, std::uint32_t (&to)[4], unsigned at) {
  need_whole_warp(operation);
  self->out = to;
  self->value = at;
  if (!scheduler->meet(operation)) return;
  for (unsigned matrix = 0; matrix < 4; ++matrix) {
    std::uint16_t values[8][8];
    for (unsigned row = 0; row < 8; ++row) {
      const Thread& lane = scheduler->lane(matrix * 8 + row);
      const auto first = static_cast<unsigned>(lane.value);
      if (checks) follow_read_by_warp(lane, first, 16);
      std::memcpy(values[row], shared_memory + first, 16);
    }
    for (unsigned lane = 0; lane < 32; ++lane) {
      const unsigned group = lane / 4;
      const unsigned pair = lane % 4 * 2;
      const bool transposed = operation == Operation::load_matrix_transposed;
      const std::uint32_t low = transposed ? values[pair][group] : values[group][pair];
      const std::uint32_t high = transposed ? values[pair + 1][group] : values[group][pair + 1];
      static_cast<std::uint32_t*>(scheduler->lane(lane).out)[matrix] = low | high << 16;
    }
  }
  scheduler->release(self->mask);
}

}  // namespace goturn::emulation
