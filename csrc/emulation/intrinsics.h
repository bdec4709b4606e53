// CUDA's functions for kernels: collectives, atomics, loads and stores with cache hints,
// mathematics.
//
// Mathematics is in goturn::cuda, where kernels are: the C library claims some of these names
// (__expf) for itself in the global namespace.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "emulation/thread.h"
#include "emulation/words.h"

namespace goturn::emulation {

template <class To, class From>
To bits_as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <class T>
T shuffle(Operation operation, std::uint32_t mask, const T& value, int operand, int width) {
  static_assert(sizeof(T) <= 8 && std::is_arithmetic_v<T>);
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(operation, mask, bits, operand, width);
  T result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

}  // namespace goturn::emulation

// -- collectives ----------------------------------------------------------------------------------

inline void __syncthreads() {
  goturn::emulation::barrier(goturn::emulation::Operation::barrier, 0);
}
inline int __syncthreads_count(int predicate) {
  return goturn::emulation::barrier(goturn::emulation::Operation::barrier_count, predicate);
}
inline int __syncthreads_and(int predicate) {
  return goturn::emulation::barrier(goturn::emulation::Operation::barrier_and, predicate);
}
inline int __syncthreads_or(int predicate) {
  return goturn::emulation::barrier(goturn::emulation::Operation::barrier_or, predicate);
}
inline void __syncwarp(unsigned mask = 0xFFFFFFFFU) { goturn::emulation::sync_warp(mask); }

template <class T>
T __shfl_sync(unsigned mask, T value, int lane, int width = warpSize) {
  return goturn::emulation::shuffle(goturn::emulation::Operation::shuffle, mask, value, lane,
                                    width);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  return goturn::emulation::shuffle(goturn::emulation::Operation::shuffle_up, mask, value,
                                    static_cast<int>(delta), width);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = warpSize) {
  return goturn::emulation::shuffle(goturn::emulation::Operation::shuffle_down, mask, value,
                                    static_cast<int>(delta), width);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = warpSize) {
  return goturn::emulation::shuffle(goturn::emulation::Operation::shuffle_xor, mask, value,
                                    lane_mask, width);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  return goturn::emulation::ballot(mask, predicate != 0);
}
inline int __any_sync(unsigned mask, int predicate) {
  return goturn::emulation::ballot(mask, predicate != 0) != 0 ? 1 : 0;
}
inline int __all_sync(unsigned mask, int predicate) {
  return goturn::emulation::ballot(mask, predicate == 0) == 0 ? 1 : 0;
}

inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

[[noreturn]] inline void __trap() { goturn::emulation::fail("__trap()"); }

// -- atomics, of integers -------------------------------------------------------------------------

namespace goturn::emulation {

template <class T>
struct Atomic {
  static_assert(std::is_same_v<T, int> || std::is_same_v<T, unsigned> ||
                    std::is_same_v<T, unsigned long long>,
                "atomics are for int, unsigned and unsigned long long");
  template <class Change>
  static T change(T* at, const Change& changed) {
    check_alignment("an atomic", at, sizeof(T));
    T old = __atomic_load_n(at, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(at, &old, changed(old), false, __ATOMIC_SEQ_CST,
                                        __ATOMIC_RELAXED)) {
    }
    return old;
  }
  // &s[i] of a Shared<T>.
  template <class Pointer, class Change>
  static T change_shared(const Pointer& pointer, const Change& changed) {
    const unsigned at = locate(pointer.array, pointer.index, sizeof(T), sizeof(T), sizeof(T));
    if (checks) follow_atomic(at, sizeof(T));
    T old;
    std::memcpy(&old, shared_memory + at, sizeof old);
    const T value = changed(old);
    std::memcpy(shared_memory + at, &value, sizeof value);
    return old;
  }
};

}  // namespace goturn::emulation

#define GOTURN_ATOMIC(name, result)                                                             \
  template <class T>                                                                            \
  T name(T* at, std::common_type_t<T> value) {                                                  \
    return goturn::emulation::Atomic<T>::change(at, [&](T old) -> T { return result; });        \
  }                                                                                             \
  template <class Pointer, class T = typename Pointer::Value>                                   \
  T name(const Pointer& at, std::common_type_t<T> value) {                                      \
    return goturn::emulation::Atomic<T>::change_shared(at, [&](T old) -> T { return result; }); \
  }
GOTURN_ATOMIC(atomicAdd, old + value)
GOTURN_ATOMIC(atomicSub, old - value)
GOTURN_ATOMIC(atomicExch, (static_cast<void>(old), value))
GOTURN_ATOMIC(atomicMin, old < value ? old : value)
GOTURN_ATOMIC(atomicMax, old > value ? old : value)
GOTURN_ATOMIC(atomicAnd, old& value)
GOTURN_ATOMIC(atomicOr, old | value)
GOTURN_ATOMIC(atomicXor, old ^ value)
GOTURN_ATOMIC(atomicInc, old >= value ? T(0) : T(old + 1))
GOTURN_ATOMIC(atomicDec, old == 0 || old > value ? value : T(old - 1))
#undef GOTURN_ATOMIC
template <class T>
T atomicCAS(T* at, std::common_type_t<T> expected, std::common_type_t<T> value) {
  return goturn::emulation::Atomic<T>::change(at,
                                              [&](T old) { return old == expected ? value : old; });
}

// -- loads and stores with cache hints ------------------------------------------------------------

#define GOTURN_LOAD(name)                                       \
  template <class T>                                            \
  T name(const T* from) {                                       \
    goturn::emulation::check_alignment(#name, from, sizeof(T)); \
    return *from;                                               \
  }
GOTURN_LOAD(__ldg)
GOTURN_LOAD(__ldcg)
GOTURN_LOAD(__ldca)
GOTURN_LOAD(__ldcs)
GOTURN_LOAD(__ldlu)
GOTURN_LOAD(__ldcv)
#undef GOTURN_LOAD
#define GOTURN_STORE(name)                                    \
  template <class T>                                          \
  void name(T* to, std::common_type_t<T> value) {             \
    goturn::emulation::check_alignment(#name, to, sizeof(T)); \
    *to = value;                                              \
  }
GOTURN_STORE(__stcg)
GOTURN_STORE(__stcs)
GOTURN_STORE(__stwb)
GOTURN_STORE(__stwt)
#undef GOTURN_STORE

// -- mathematics ----------------------------------------------------------------------------------

#define GOTURN_MIN_MAX(A, B, Result)              \
  inline Result min(A first, B second) {          \
    const Result a = static_cast<Result>(first);  \
    const Result b = static_cast<Result>(second); \
    return a < b ? a : b;                         \
  }                                               \
  inline Result max(A first, B second) {          \
    const Result a = static_cast<Result>(first);  \
    const Result b = static_cast<Result>(second); \
    return a > b ? a : b;                         \
  }
GOTURN_MIN_MAX(int, int, int)
GOTURN_MIN_MAX(unsigned, unsigned, unsigned)
GOTURN_MIN_MAX(int, unsigned, unsigned)
GOTURN_MIN_MAX(unsigned, int, unsigned)
GOTURN_MIN_MAX(long, long, long)
GOTURN_MIN_MAX(unsigned long, unsigned long, unsigned long)
GOTURN_MIN_MAX(long long, long long, long long)
GOTURN_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
#undef GOTURN_MIN_MAX
// A NaN loses to a number.
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

namespace goturn::cuda {

inline unsigned __float_as_uint(float x) { return emulation::bits_as<unsigned>(x); }
inline int __float_as_int(float x) { return emulation::bits_as<int>(x); }
inline float __uint_as_float(unsigned x) { return emulation::bits_as<float>(x); }
inline float __int_as_float(int x) { return emulation::bits_as<float>(x); }
inline long long __double_as_longlong(double x) { return emulation::bits_as<long long>(x); }
inline double __longlong_as_double(long long x) { return emulation::bits_as<double>(x); }

// Rounded to nearest, each on its own.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frcp_rn(float x) { return 1.0F / x; }
inline float __frsqrt_rn(float x) { return static_cast<float>(1.0 / sqrt(static_cast<double>(x))); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline double __dsqrt_rn(double x) { return sqrt(x); }
inline double __drcp_rn(double x) { return 1.0 / x; }

// Approximate on a GPU.
inline float rsqrtf(float x) { return 1.0F / sqrtf(x); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float x) { return expf(x); }
inline float __exp2f(float x) { return exp2f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __powf(float x, float y) { return exp2f(y * log2f(x)); }
inline float __saturatef(float x) { return x > 0.0F ? (x < 1.0F ? x : 1.0F) : 0.0F; }

// To integers, held to their range; a NaN is 0.
#define GOTURN_TO_INTEGER(name, From, To, rounded, low, high)              \
  inline To name(From x) {                                                 \
    const double value = rounded(static_cast<double>(x));                  \
    if (!(value > low)) return value <= low ? To(low) : To(0);             \
    return value >= high ? static_cast<To>(high) : static_cast<To>(value); \
  }
GOTURN_TO_INTEGER(__float2int_rn, float, int, nearbyint, -2147483648.0, 2147483647.0)
GOTURN_TO_INTEGER(__float2int_rz, float, int, trunc, -2147483648.0, 2147483647.0)
GOTURN_TO_INTEGER(__float2int_rd, float, int, floor, -2147483648.0, 2147483647.0)
GOTURN_TO_INTEGER(__float2int_ru, float, int, ceil, -2147483648.0, 2147483647.0)
GOTURN_TO_INTEGER(__float2uint_rn, float, unsigned, nearbyint, 0.0, 4294967295.0)
GOTURN_TO_INTEGER(__float2uint_rz, float, unsigned, trunc, 0.0, 4294967295.0)
GOTURN_TO_INTEGER(__double2int_rn, double, int, nearbyint, -2147483648.0, 2147483647.0)
GOTURN_TO_INTEGER(__double2int_rz, double, int, trunc, -2147483648.0, 2147483647.0)
GOTURN_TO_INTEGER(__double2int_rd, double, int, floor, -2147483648.0, 2147483647.0)
#undef GOTURN_TO_INTEGER
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline double __int2double_rn(int x) { return x; }
inline float __ll2float_rn(long long x) { return static_cast<float>(x); }
inline double __ll2double_rn(long long x) { return static_cast<double>(x); }
inline float __double2float_rn(double x) { return static_cast<float>(x); }

inline int __mulhi(int a, int b) {
  return static_cast<int>(static_cast<std::int64_t>(a) * b >> 32);
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<std::uint64_t>(a) * b >> 32);
}
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  __extension__ using Wide = unsigned __int128;
  return static_cast<unsigned long long>(static_cast<Wide>(a) * b >> 64);
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<unsigned>(x)); }
inline int __clzll(long long x) {
  return x == 0 ? 64 : __builtin_clzll(static_cast<unsigned long long>(x));
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int bit = 0; bit < 32; ++bit) reversed |= (x >> bit & 1U) << (31 - bit);
  return reversed;
}
// Byte i of the result is byte (selector >> 4 i) & 7 of the eight of b:a, or its sign where bit 3
// is set.
inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
  const std::uint64_t bytes = static_cast<std::uint64_t>(b) << 32 | a;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    const unsigned choice = selector >> 4 * i & 15U;
    unsigned byte = static_cast<unsigned>(bytes >> 8 * (choice & 7U)) & 255U;
    if ((choice & 8U) != 0) byte = (byte & 128U) != 0 ? 255U : 0U;
    result |= byte << 8 * i;
  }
  return result;
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) << (shift & 31U) >>
                               32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(high) << 32 | low) >> (shift & 31U));
}
inline int __dp4a(int a, int b, int c) {
  auto sum = static_cast<unsigned>(c);
  for (int i = 0; i < 4; ++i) {
    const int product = static_cast<std::int8_t>(static_cast<unsigned>(a) >> 8 * i) *
                        static_cast<std::int8_t>(static_cast<unsigned>(b) >> 8 * i);
    sum += static_cast<unsigned>(product);
  }
  return static_cast<int>(sum);
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
  for (int i = 0; i < 4; ++i) c += (a >> 8 * i & 255U) * (b >> 8 * i & 255U);
  return c;
}

}  // namespace goturn::cuda
