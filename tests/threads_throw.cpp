// What becomes of an exception in a piece of work; see test_threads.py.
#include <atomic>
#include <cstdint>
#include <iostream>
#include <stdexcept>

#include "cpu/threads.h"

using goturn::cpu::parallel_for;

namespace {

// How many of 1000 pieces of work were done when number `bad` threw; -1 where that was not seen.
std::int64_t done_beside(std::int64_t bad) {
  std::atomic<std::int64_t> done{0};
  try {
    parallel_for(1000, [&](std::int64_t index) {
      if (index == bad || (bad < 0 && index % 3 == 0)) throw std::length_error("thrown");
      ++done;
    });
  } catch (const std::length_error&) {
    return done;
  }
  return -1;
}

}  // namespace

int main() {
  for (const int threads : {1, 2, 5}) {
    goturn::cpu::set_thread_count(threads);
    bool right = true;
    for (std::int64_t turn = 0; turn < 1000; ++turn) {
      const std::int64_t done = done_beside(turn % 2 == 0 ? turn : -1);
      right = right && done >= 0 && done < 1000;
      // The pool goes on, and misses nothing.
      std::atomic<std::int64_t> sum{0};
      parallel_for(100, [&](std::int64_t index) { sum += index; });
      right = right && sum == 4950;
    }
    std::cout << (right ? "right" : "wrong") << '\n';
  }
}
