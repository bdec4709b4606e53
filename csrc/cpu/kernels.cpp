#include "cpu/kernels.h"

#include <cstdlib>
#include <cstring>
#include <stdexcept>
#include <string>

namespace goturn::cpu {

extern const Kernels kPortableKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
#if defined(GOTURN_AVX512_VNNI)
extern const Kernels kAvx512VnniKernels;
#endif
#endif

namespace {

struct Choice {
  const Kernels* kernels;
  bool runs;
};

const Kernels& choose() {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  const Choice choices[] = {
#if defined(GOTURN_AVX512_VNNI)
      {&kAvx512VnniKernels, avx512 && __builtin_cpu_supports("avx512vnni")},
#endif
      {&kAvx512Kernels, avx512},
      {&kAvx2Kernels, avx2},
      {&kPortableKernels, true}};
#else
  const Choice choices[] = {{&kPortableKernels, true}};
#endif
  const char* wanted = std::getenv("GOTURN_CPU_ISA");
  for (const Choice& choice : choices) {
    if (wanted == nullptr || *wanted == '\0') {
      if (choice.runs) return *choice.kernels;
    } else if (std::strcmp(wanted, choice.kernels->name) == 0) {
      if (choice.runs) return *choice.kernels;
      throw std::runtime_error(std::string("GOTURN_CPU_ISA asks for ") + wanted +
                               ", which this processor does not have; unset it");
    }
  }
  std::string names;
  for (const Choice& choice : choices) {
    names += (names.empty() ? "" : ", ") + std::string(choice.kernels->name);
  }
  throw std::runtime_error("GOTURN_CPU_ISA must be one of " + names + "; got " + wanted);
}

}  // namespace

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace goturn::cpu
