// CUDA's words and types for a C++ compiler: qualifiers, vectors, dim3.
#pragma once

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(bytes) __attribute__((aligned(bytes)))

// Vectors, aligned as CUDA's are, and make_...().
#define GOTURN_VECTORS(T, name, align2, align4)                      \
  struct alignas(align2) name##2 { T x, y; };                        \
  struct name##3 { T x, y, z; };                                     \
  struct alignas(align4) name##4 { T x, y, z, w; };                  \
  inline name##2 make_##name##2(T x, T y) { return {x, y}; }         \
  inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; } \
  inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }

GOTURN_VECTORS(signed char, char, 2, 4)
GOTURN_VECTORS(unsigned char, uchar, 2, 4)
GOTURN_VECTORS(short, short, 4, 8)
GOTURN_VECTORS(unsigned short, ushort, 4, 8)
GOTURN_VECTORS(int, int, 8, 16)
GOTURN_VECTORS(unsigned, uint, 8, 16)
GOTURN_VECTORS(float, float, 8, 16)
GOTURN_VECTORS(long long, longlong, 16, 16)
GOTURN_VECTORS(unsigned long long, ulonglong, 16, 16)
GOTURN_VECTORS(double, double, 16, 16)
#undef GOTURN_VECTORS

struct dim3 {
  constexpr dim3(unsigned x_size = 1, unsigned y_size = 1,
                 unsigned z_size = 1)  // NOLINT: as CUDA's
      : x(x_size), y(y_size), z(z_size) {}
  constexpr dim3(uint3 sizes) : x(sizes.x), y(sizes.y), z(sizes.z) {}  // NOLINT
  constexpr operator uint3() const { return {x, y, z}; }               // NOLINT
  unsigned x, y, z;
};

inline constexpr int warpSize = 32;
