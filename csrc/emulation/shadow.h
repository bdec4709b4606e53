// The record of shared memory: who wrote and who read each byte last, and when.
//
// Time is a number that grows with every barrier and __syncwarp.  An access comes after an earlier
// one for certain if the same thread made both, if a barrier of the block lies between, or a
// __syncwarp of the warp that both belong to.  Two that are not ordered, one of them a write, are a
// race.
//
// Bytes are recorded by fours, and singly where an access covers a part of four.  The readers since
// the last barrier are kept as one thread, one warp or many, which decides all cases: a later write
// by one of many warps always races with another's read.
#pragma once

#include <cstdint>
#include <vector>

namespace goturn::emulation {

// Who accesses: a thread of the block by its number, or one of these.
inline constexpr std::uint16_t kWarps = 0x400;    // + warp: several of its lanes
inline constexpr std::uint16_t kMany = 0x800;     // several warps
inline constexpr std::uint16_t kAtomic = 0x801;   // atomics, of any threads
inline constexpr std::uint16_t kPending = 0x802;  // a copy_async that no wait has completed
inline constexpr std::uint16_t kNobody = 0xFFFF;

struct Accessor {
  std::uint16_t id;
  std::uint16_t warp;
  std::uint32_t now;
};

enum class Fault : std::uint8_t { none, unwritten, race_with_write, race_with_read, pending_copy };

class Shadow {
 public:
  void clear();
  // Sees to records of the first `bytes` bytes.
  void cover(unsigned bytes);
  // Nothing is written, at the beginning of a block.
  void begin_block(std::uint32_t now) { block_ = barrier_ = now; }
  void pass_barrier(std::uint32_t now) { barrier_ = now; }

  // Each returns the first fault, and says in `at` and `other` where and with whom.
  Fault read(const Accessor& accessor, unsigned first, unsigned bytes);
  Fault write(const Accessor& accessor, unsigned first, unsigned bytes);
  Fault atomic(const Accessor& accessor, unsigned first, unsigned bytes);
  // The beginning and the end of an asynchronous write.
  Fault begin_copy(const Accessor& accessor, unsigned first, unsigned bytes);
  void end_copy(const Accessor& accessor, unsigned first, unsigned bytes);
  // As if never written.
  void forget(unsigned first, unsigned bytes);

  unsigned at = 0;
  std::uint16_t other = kNobody;

 private:
  struct Cell {
    std::uint32_t write_time = 0;
    std::uint32_t read_time = 0;
    std::uint16_t writer = kNobody;
    std::uint16_t reader = kNobody;
    std::uint32_t split = 0;  // of four: its bytes are recorded singly
  };

  bool ordered(const Accessor& accessor, std::uint16_t who, std::uint32_t when) const;
  Fault read_cell(const Accessor& accessor, Cell& cell);
  Fault write_cell(const Accessor& accessor, Cell& cell);
  Fault atomic_cell(const Accessor& accessor, Cell& cell);
  Cell* split(unsigned four);
  void join(Cell& cell, const Cell* bytes) const;
  template <class Touch>
  Fault each(unsigned first, unsigned bytes, const Touch& touch);

  std::uint32_t block_ = 0;    // when the block began
  std::uint32_t barrier_ = 0;  // its last barrier
  std::vector<Cell> fours_;
  std::vector<Cell> bytes_;  // empty until needed
};

}  // namespace goturn::emulation
