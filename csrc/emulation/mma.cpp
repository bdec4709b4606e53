// Products of small matrices: mma.sync.  The last lane to come gathers the fragments, multiplies in
// float and hands out the sums.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "emulation/scheduler.h"

namespace goturn::emulation {
namespace {

// Two vectors of four floats are a row of eight: what every x86-64 and aarch64 has.
typedef float Four __attribute__((vector_size(16)));

float float_of(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// IEEE half to float without branches: the exponent is moved by a product with 2^112.
float float_of_half(std::uint32_t bits) {
  float magnitude = float_of((bits & 0x7FFFU) << 13) * float_of(0x77800000U);
  std::uint32_t result;
  std::memcpy(&result, &magnitude, sizeof result);
  if ((bits & 0x7C00U) == 0x7C00U) result |= 0x7F800000U;
  return float_of(result | (bits & 0x8000U) << 16);
}

float float_of_bfloat16(std::uint32_t bits) { return float_of(bits << 16); }

// d (16, 8) += a (16, kDepth) b (kDepth, 8), in order of k.
template <int kDepth>
void multiply(float (&d)[16][8], const float (&a)[16][kDepth], const float (&b)[kDepth][8]) {
  for (int row = 0; row < 16; ++row) {
    Four low;
    Four high;
    std::memcpy(&low, &d[row][0], sizeof low);
    std::memcpy(&high, &d[row][4], sizeof high);
    for (int k = 0; k < kDepth; ++k) {
      Four b_low;
      Four b_high;
      std::memcpy(&b_low, &b[k][0], sizeof b_low);
      std::memcpy(&b_high, &b[k][4], sizeof b_high);
      low += a[row][k] * b_low;
      high += a[row][k] * b_high;
    }
    std::memcpy(&d[row][0], &low, sizeof low);
    std::memcpy(&d[row][4], &high, sizeof high);
  }
}

int exponent_of(double value) {
  std::uint64_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<int>(bits >> 52 & 0x7FFU) - 1023;
}

double power_of_two(int exponent) {
  const std::uint64_t bits = static_cast<std::uint64_t>(exponent + 1023) << 52;
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// The sum of `count` numbers as tensor cores form it: each cut off below the last bit that the
// largest keeps, and `extra` bits more, then the sum cut off to a float's 24 bits.
float truncated_sum(const double* addends, int count, int extra) {
  int largest = -400;  // products of floats are above
  double sum = 0;
  for (int i = 0; i < count; ++i) {
    sum += addends[i];
    largest = std::max(largest, exponent_of(addends[i]));
  }
  if (!std::isfinite(sum)) return static_cast<float>(sum);
  const int last = largest - 23 - extra;
  const double to_units = power_of_two(-last);
  std::int64_t units = 0;
  for (int i = 0; i < count; ++i) units += static_cast<std::int64_t>(addends[i] * to_units);
  sum = static_cast<double>(units) * power_of_two(last);
  std::uint64_t bits;
  std::memcpy(&bits, &sum, sizeof bits);
  bits &= ~((std::uint64_t{1} << 29) - 1);
  std::memcpy(&sum, &bits, sizeof sum);
  return static_cast<float>(sum);
}

// As multiply(), by tensor cores' sums of `width` products at a time and what was there before.
template <int kDepth>
void multiply_truncating(float (&d)[16][8], const float (&a)[16][kDepth],
                         const float (&b)[kDepth][8], int width, int extra) {
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      for (int first = 0; first < kDepth; first += width) {
        double addends[kDepth + 1];
        addends[width] = static_cast<double>(d[row][column]);
        for (int k = 0; k < width; ++k) {
          addends[k] =
              static_cast<double>(a[row][first + k]) * static_cast<double>(b[first + k][column]);
        }
        d[row][column] = truncated_sum(addends, width + 1, extra);
      }
    }
  }
}

// Whichever the settings ask for.  No manual states how tensor cores add; widths and extra bits are
// about what experiments found (Fasi et al., "Numerical behavior of NVIDIA tensor cores", 2021, and
// Li et al., "FTTN", 2024).
template <int kDepth>
void add_product(float (&d)[16][8], const float (&a)[16][kDepth], const float (&b)[kDepth][8]) {
  const Settings& how = scheduler->how;
  if (!how.truncate) {
    multiply(d, a, b);
  } else if (how.capability < 90) {
    multiply_truncating(d, a, b, kDepth / 2, 1);
  } else {
    multiply_truncating(d, a, b, kDepth, 2);
  }
}

const std::uint32_t* operand(const Thread& thread, int which) {
  return static_cast<const std::uint32_t*>(thread.in[which]);
}

void gather_sums(float (&d)[16][8]) {
  for (unsigned lane = 0; lane < 32; ++lane) {
    const auto* values = static_cast<const float*>(scheduler->lane(lane).out);
    std::memcpy(&d[lane / 4][lane % 4 * 2], values, 8);
    std::memcpy(&d[lane / 4 + 8][lane % 4 * 2], values + 2, 8);
  }
}

void scatter_sums(const float (&d)[16][8]) {
  for (unsigned lane = 0; lane < 32; ++lane) {
    auto* values = static_cast<float*>(scheduler->lane(lane).out);
    std::memcpy(values, &d[lane / 4][lane % 4 * 2], 8);
    std::memcpy(values + 2, &d[lane / 4 + 8][lane % 4 * 2], 8);
  }
}

void multiply_tf32() {
  constexpr std::uint32_t kRead = 0xFFFFE000U;  // the bits of a register that the hardware looks at
  float a[16][8];
  float b[8][8];
  float d[16][8];
  for (unsigned lane = 0; lane < 32; ++lane) {
    const Thread& thread = scheduler->lane(lane);
    const std::uint32_t* of_a = operand(thread, 0);
    const std::uint32_t* of_b = operand(thread, 1);
    const unsigned group = lane / 4;
    const unsigned pair = lane % 4;
    a[group][pair] = float_of(of_a[0] & kRead);
    a[group + 8][pair] = float_of(of_a[1] & kRead);
    a[group][pair + 4] = float_of(of_a[2] & kRead);
    a[group + 8][pair + 4] = float_of(of_a[3] & kRead);
    b[pair][group] = float_of(of_b[0] & kRead);
    b[pair + 4][group] = float_of(of_b[1] & kRead);
  }
  gather_sums(d);
  add_product(d, a, b);
  scatter_sums(d);
}

template <class ToFloat>
void multiply_16_bits(const ToFloat& to_float) {
  float a[16][16];
  float b[16][8];
  float d[16][8];
  for (unsigned lane = 0; lane < 32; ++lane) {
    const Thread& thread = scheduler->lane(lane);
    const std::uint32_t* of_a = operand(thread, 0);
    const std::uint32_t* of_b = operand(thread, 1);
    const unsigned group = lane / 4;
    const unsigned k = lane % 4 * 2;
    for (unsigned half = 0; half < 2; ++half) {  // the lower and the upper of a register
      const unsigned shift = 16 * half;
      a[group][k + half] = to_float(of_a[0] >> shift & 0xFFFFU);
      a[group + 8][k + half] = to_float(of_a[1] >> shift & 0xFFFFU);
      a[group][k + 8 + half] = to_float(of_a[2] >> shift & 0xFFFFU);
      a[group + 8][k + 8 + half] = to_float(of_a[3] >> shift & 0xFFFFU);
      b[k + half][group] = to_float(of_b[0] >> shift & 0xFFFFU);
      b[k + 8 + half][group] = to_float(of_b[1] >> shift & 0xFFFFU);
    }
  }
  gather_sums(d);
  add_product(d, a, b);
  scatter_sums(d);
}

}  // namespace

void mma(Operation operation, float (&d)[4], const std::uint32_t (&a)[4],
         const std::uint32_t (&b)[2]) {
  need_whole_warp(operation);
  self->out = d;
  self->in[0] = a;
  self->in[1] = b;
  if (!scheduler->meet(operation)) return;
  if (operation == Operation::mma_tf32) {
    multiply_tf32();
  } else if (operation == Operation::mma_f16) {
    multiply_16_bits(float_of_half);
  } else {
    multiply_16_bits(float_of_bfloat16);
  }
  scheduler->release(self->mask);
}

}  // namespace goturn::emulation
