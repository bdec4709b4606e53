#include "emulation/shadow.h"

#include <algorithm>

namespace goturn::emulation {
namespace {

constexpr std::uint32_t kNever = 0xFFFFFFFF;  // the time of a write that is still to come

std::uint16_t warp_of(std::uint16_t who) {
  if (who < kWarps) return who >> 5;
  return who < kMany ? who & 31U : kNobody;
}

}  // namespace

void Shadow::clear() {
  fours_.clear();
  bytes_.clear();
}

void Shadow::cover(unsigned bytes) {
  const unsigned fours = (bytes + 3) / 4;
  if (fours_.size() < fours) {
    fours_.resize(fours);
    if (!bytes_.empty()) bytes_.resize(std::size_t{fours} * 4);
  }
}

inline bool Shadow::ordered(const Accessor& accessor, std::uint16_t who, std::uint32_t when) const {
  return when < barrier_ || who == accessor.id ||
         (warp_of(who) == accessor.warp && when < accessor.now);
}

inline Fault Shadow::read_cell(const Accessor& accessor, Cell& cell) {
  if (cell.write_time < block_) return Fault::unwritten;
  if (!ordered(accessor, cell.writer, cell.write_time)) {
    other = cell.writer;
    return cell.writer == kPending ? Fault::pending_copy : Fault::race_with_write;
  }
  if (cell.read_time < barrier_ || cell.reader == accessor.id) {
    cell.reader = accessor.id;
  } else if (warp_of(cell.reader) != accessor.warp) {
    cell.reader = kMany;
  } else if (cell.read_time < accessor.now) {
    cell.reader = accessor.id;
  } else {
    cell.reader = kWarps + accessor.warp;
  }
  cell.read_time = accessor.now;
  return Fault::none;
}

inline Fault Shadow::write_cell(const Accessor& accessor, Cell& cell) {
  if (cell.write_time >= block_ && !ordered(accessor, cell.writer, cell.write_time)) {
    other = cell.writer;
    return cell.writer == kPending ? Fault::pending_copy : Fault::race_with_write;
  }
  if (!ordered(accessor, cell.reader, cell.read_time)) {
    other = cell.reader;
    return Fault::race_with_read;
  }
  cell.writer = accessor.id;
  cell.write_time = accessor.now;
  return Fault::none;
}

inline Fault Shadow::atomic_cell(const Accessor& accessor, Cell& cell) {
  if (cell.write_time < block_) return Fault::unwritten;
  if (cell.writer == kAtomic) cell.writer = accessor.id;  // two atomics are no race
  const Fault fault = write_cell(accessor, cell);
  cell.writer = kAtomic;
  return fault;
}

// The bytes of a four, told apart from now on.
Shadow::Cell* Shadow::split(unsigned four) {
  if (bytes_.empty()) bytes_.resize(fours_.size() * 4);
  Cell* bytes = &bytes_[std::size_t{four} * 4];
  if (fours_[four].split == 0) {
    std::fill(bytes, bytes + 4, fours_[four]);
    fours_[four].split = 1;
  }
  return bytes;
}

// A four whose bytes need no longer be told apart: they were read as one, and written as one or
// before the last barrier, since when it does not matter by whom.
inline void Shadow::join(Cell& cell, const Cell* bytes) const {
  bool as_one = true;
  bool settled = true;
  for (int i = 0; i < 4; ++i) {
    const Cell& byte = bytes[i];
    if (byte.reader != bytes[0].reader || byte.read_time != bytes[0].read_time) return;
    as_one &= byte.writer == bytes[0].writer && byte.write_time == bytes[0].write_time;
    settled &= byte.write_time >= block_ && byte.write_time < barrier_;
  }
  if (!as_one && !settled) return;
  cell = bytes[0];
  cell.split = 0;
}

template <class Touch>
inline Fault Shadow::each(unsigned first, unsigned bytes, const Touch& touch) {
  const unsigned end = first + bytes;
  while (first < end) {
    const unsigned four = first / 4;
    Cell& cell = fours_[four];
    if (first % 4 == 0 && end - first >= 4 && cell.split == 0) {
      const Fault fault = touch(cell);
      if (fault != Fault::none) {
        at = first;
        return fault;
      }
      first += 4;
      continue;
    }
    Cell* singly = split(four);
    const bool whole = first % 4 == 0 && end - first >= 4;
    const unsigned stop = std::min(end, four * 4 + 4);
    for (; first < stop; ++first) {
      const Fault fault = touch(singly[first % 4]);
      if (fault != Fault::none) {
        at = first;
        return fault;
      }
    }
    if (whole) join(cell, singly);
  }
  return Fault::none;
}

Fault Shadow::read(const Accessor& accessor, unsigned first, unsigned bytes) {
  return each(first, bytes, [&](Cell& cell) { return read_cell(accessor, cell); });
}

Fault Shadow::write(const Accessor& accessor, unsigned first, unsigned bytes) {
  return each(first, bytes, [&](Cell& cell) { return write_cell(accessor, cell); });
}

Fault Shadow::atomic(const Accessor& accessor, unsigned first, unsigned bytes) {
  return each(first, bytes, [&](Cell& cell) { return atomic_cell(accessor, cell); });
}

Fault Shadow::begin_copy(const Accessor& accessor, unsigned first, unsigned bytes) {
  return each(first, bytes, [&](Cell& cell) {
    const Fault fault = write_cell(accessor, cell);
    cell.writer = kPending;
    cell.write_time = kNever;
    return fault;
  });
}

void Shadow::forget(unsigned first, unsigned bytes) {
  each(first, bytes, [&](Cell& cell) {
    cell.write_time = 0;
    return Fault::none;
  });
}

void Shadow::end_copy(const Accessor& accessor, unsigned first, unsigned bytes) {
  each(first, bytes, [&](Cell& cell) {
    cell.writer = accessor.id;
    cell.write_time = accessor.now;
    return Fault::none;
  });
}

}  // namespace goturn::emulation
