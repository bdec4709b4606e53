// The losses: a few hundred values in training, any number in principle; sums in double precision,
// in one order whatever the number of threads.

#include <cmath>
#include <vector>

#include "cpu/blocks.h"
#include "ops.h"

namespace goturn::cpu {
namespace {

// The sum over all blocks of body(begin, end).
template <class Body>
double sum_of_blocks(std::int64_t count, const Body& body) {
  std::vector<double> sums(static_cast<std::size_t>(divide_up(count, kValuesPerBlock)));
  for_blocks(count, [&](std::int64_t begin, std::int64_t end) {
    sums[static_cast<std::size_t>(begin / kValuesPerBlock)] = body(begin, end);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

// -1, 0 or 1; a NaN stays one.
inline float sign(float value) {
  return value > 0.0F ? 1.0F : (value < 0.0F ? -1.0F : (value == 0.0F ? 0.0F : value));
}

}  // namespace

double l1_loss(std::int64_t count, const float* prediction, const float* label, float* gradient) {
  return sum_of_blocks(count, [=](std::int64_t begin, std::int64_t end) {
    return sum_in_turns(begin, end, [=](std::int64_t i) {
      const float difference = prediction[i] - label[i];
      gradient[i] = sign(difference);
      return static_cast<double>(std::fabs(difference));
    });
  });
}

double l2_loss(std::int64_t count, const float* prediction, const float* label, float* gradient) {
  const double total = sum_of_blocks(count, [=](std::int64_t begin, std::int64_t end) {
    return sum_in_turns(begin, end, [=](std::int64_t i) {
      gradient[i] = prediction[i] - label[i];
      const auto difference = static_cast<double>(gradient[i]);
      return difference * difference;
    });
  });
  return total / 2;
}

}  // namespace goturn::cpu
