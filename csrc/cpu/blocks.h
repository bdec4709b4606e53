// Loops over many values, in blocks that do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <cstdint>

#include "cpu/buffer.h"
#include "cpu/threads.h"

namespace goturn::cpu {

inline constexpr std::int64_t kValuesPerBlock = std::int64_t{1} << 15;

// Calls body(begin, end) for each block of [0, count).
template <class Body>
void for_blocks(std::int64_t count, const Body& body) {
  parallel_for(divide_up(count, kValuesPerBlock), [&](std::int64_t block) {
    const std::int64_t begin = block * kValuesPerBlock;
    body(begin, std::min(count, begin + kValuesPerBlock));
  });
}

// The sum of value(i) over [begin, end) in double precision, always in one order: eight sums that
// take turns.
template <class Value>
double sum_in_turns(std::int64_t begin, std::int64_t end, const Value& value) {
  constexpr std::int64_t turns = 8;
  double sums[turns] = {};
  std::int64_t i = begin;
  for (; i + turns <= end; i += turns) {
    for (std::int64_t turn = 0; turn < turns; ++turn) sums[turn] += value(i + turn);
  }
  for (; i < end; ++i) sums[0] += value(i);
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

}  // namespace goturn::cpu
