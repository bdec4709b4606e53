// Division by a number that is known when a kernel is launched: a multiplication and a shift.
#pragma once

#include <cstdint>

#include "cuda/platform.h"

namespace goturn::cuda {

class Divisor {
 public:
  // divisor >= 1.  With 2^(shift - 1) < divisor <= 2^shift, the quotient of any n < 2^31 is
  // n (2^32 + magic) / 2^(32 + shift), rounded down.
  __host__ explicit Divisor(std::uint32_t divisor) : divisor_(divisor) {
    while ((std::uint64_t{1} << shift_) < divisor) ++shift_;
    const std::uint64_t excess = (std::uint64_t{1} << shift_) - divisor;
    magic_ = static_cast<std::uint32_t>((excess << 32) / divisor + 1);
  }

  // n / divisor for 0 <= n < 2^31.
  __host__ __device__ __forceinline__ int quotient(int n) const {
    const auto wide = static_cast<std::uint64_t>(static_cast<std::uint32_t>(n));
    const auto high = static_cast<std::uint32_t>(wide * magic_ >> 32);
    return static_cast<int>((high + static_cast<std::uint32_t>(n)) >> shift_);
  }
  __host__ __device__ __forceinline__ int divisor() const { return static_cast<int>(divisor_); }

 private:
  std::uint32_t divisor_;
  std::uint32_t magic_ = 0;
  std::uint32_t shift_ = 0;
};

}  // namespace goturn::cuda
