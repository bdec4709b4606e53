// What csrc/emulation computes, for tests to hold against NumPy: each function runs one kernel on
// arrays of the host.
#include <cstdint>

#include "cuda/matrix.h"
#include "cuda/numbers.h"
#include "cuda/platform.h"

namespace goturn::cuda {
namespace {

constexpr unsigned kAll = 0xFFFFFFFFU;

__device__ unsigned flat_thread() {
  return (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
}

// Each thread writes its indices: block (x, y, z), thread (x, y, z), then the sizes.
__global__ void write_indices(unsigned* to) {
  const unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  to += (block * blockDim.x * blockDim.y * blockDim.z + flat_thread()) * 12;
  const uint3 parts[] = {blockIdx, threadIdx, gridDim, blockDim};
  for (int i = 0; i < 4; ++i) {
    to[i * 3] = parts[i].x;
    to[i * 3 + 1] = parts[i].y;
    to[i * 3 + 2] = parts[i].z;
  }
}

template <class T>
__global__ void shuffles(const T* values, const int* operand, int width, T* to) {
  const unsigned lane = threadIdx.x;
  const T value = values[lane];
  to[lane] = __shfl_sync(kAll, value, operand[lane], width);
  to[32 + lane] = __shfl_up_sync(kAll, value, static_cast<unsigned>(operand[lane]), width);
  to[64 + lane] = __shfl_down_sync(kAll, value, static_cast<unsigned>(operand[lane]), width);
  to[96 + lane] = __shfl_xor_sync(kAll, value, operand[lane], width);
}

// Lanes 0 to 19 vote with one mask, the others with another.
__global__ void votes(const int* predicates, unsigned* to) {
  const unsigned lane = threadIdx.x;
  const unsigned mask = lane < 20 ? 0xFFFFFU : 0xFFF00000U;
  to[lane] = __ballot_sync(mask, predicates[lane]);
  to[32 + lane] = static_cast<unsigned>(__any_sync(mask, predicates[lane]));
  to[64 + lane] = static_cast<unsigned>(__all_sync(mask, predicates[lane]));
}

// On 96 threads.
__global__ void block_votes(const int* predicates, int* to) {
  for (int i = 0; i < 3; ++i) {  // one after the other, of other values
    const int predicate = predicates[i * 96 + threadIdx.x];
    to[(i * 3) * 96 + threadIdx.x] = __syncthreads_count(predicate);
    to[(i * 3 + 1) * 96 + threadIdx.x] = __syncthreads_and(predicate);
    to[(i * 3 + 2) * 96 + threadIdx.x] = __syncthreads_or(predicate);
  }
}

// Fragments as they lie in registers: a (32, 4), b (32, 2), d (32, 4) for each block.
template <int kKind>
__global__ void multiply(const std::uint32_t* a, const std::uint32_t* b, float* d) {
  const unsigned lane = blockIdx.x * 32 + threadIdx.x;
  std::uint32_t of_a[4];
  std::uint32_t of_b[2];
  float sums[4];
  for (int i = 0; i < 4; ++i) of_a[i] = a[lane * 4 + i];
  for (int i = 0; i < 2; ++i) of_b[i] = b[lane * 2 + i];
  for (int i = 0; i < 4; ++i) sums[i] = d[lane * 4 + i];
  if constexpr (kKind == 0) mma_tf32(sums, of_a, of_b);
  if constexpr (kKind == 1) mma_f16(sums, of_a, of_b);
  if constexpr (kKind == 2) mma_bf16(sums, of_a, of_b);
  for (int i = 0; i < 4; ++i) d[lane * 4 + i] = sums[i];
}

// Of 1024 values in shared memory, lane l gives the address of the row that begins at index[l].
__global__ void load_matrices(const std::uint16_t* values, const int* index, std::uint32_t* to) {
  GOTURN_SHARED(std::uint16_t, tile, 1024);
  for (unsigned i = threadIdx.x; i < 1024; i += 32) tile[static_cast<int>(i)] = values[i];
  __syncthreads();
  std::uint32_t fragment[4];
  load_matrix_x4(fragment, tile, index[threadIdx.x]);
  for (int i = 0; i < 4; ++i) to[threadIdx.x * 4 + i] = fragment[i];
  load_matrix_x4_transposed(fragment, tile, index[threadIdx.x]);
  for (int i = 0; i < 4; ++i) to[128 + threadIdx.x * 4 + i] = fragment[i];
}

// What lies at the source when the wait comes is copied, by groups, in chunks of kBytes; invalid
// ones are zeros.
template <int kBytes>
__global__ void copies(int* from, int* to) {
  constexpr int kInts = kBytes / 4;
  SharedMemory memory;
  memory.take<int>(3);
  const Shared<int> tile = memory.take<int>(32 * kInts);
  const int first = static_cast<int>(threadIdx.x) * kInts;
  copy_async<kBytes>(tile, first, from + first, threadIdx.x % 4 != 3);
  copy_async_commit();
  for (int i = 0; i < kInts; ++i) from[first + i] += 1000;
  copy_async_wait<0>();
  for (int i = 0; i < kInts; ++i) to[first + i] = tile[first + i];
}

// The last block to finish adds up what all have written; `order` gets the blocks as they run.
__global__ void last_block(const int* values, int* partials, int* counter, int* order, int* sum) {
  GOTURN_SHARED(int, is_last, 1);
  GOTURN_SHARED(int, total, 1);
  if (threadIdx.x == 0) total[0] = 0;
  __syncthreads();
  atomicAdd(&total[0], values[blockIdx.x * blockDim.x + threadIdx.x]);
  __syncthreads();
  if (threadIdx.x == 0) {
    partials[blockIdx.x] = total[0];
    __threadfence();
    const unsigned ticket = atomicInc(reinterpret_cast<unsigned*>(counter), gridDim.x - 1);
    order[ticket] = static_cast<int>(blockIdx.x);
    is_last[0] = ticket == gridDim.x - 1 ? 1 : 0;
  }
  __syncthreads();
  if (is_last[0] != 0 && threadIdx.x == 0) {
    int all = 0;
    for (unsigned i = 0; i < gridDim.x; ++i) all += partials[i];
    *sum = all;
  }
}

__global__ void atomics(int* values) {  // each at a place of its own, by 64 threads
  const int id = static_cast<int>(threadIdx.x);
  atomicAdd(values, id);
  atomicSub(values + 1, id);
  atomicMin(values + 2, id - 7);
  atomicMax(values + 3, id);
  atomicOr(values + 4, id);
  atomicAnd(values + 5, id | 64);
  atomicXor(values + 6, id);
  atomicDec(reinterpret_cast<unsigned*>(values) + 7, 40);
  if (id == 0) values[8] = atomicExch(values + 9, 5);
  if (id == 0) values[10] = atomicCAS(values + 9, 5, 6);
  if (id == 0) values[11] = atomicCAS(values + 9, 5, 7);
}

__global__ void integers(const int* a, const int* b, const float* x, int count, int* to) {
  for (int i = 0; i < count; ++i) {
    const auto ua = static_cast<unsigned>(a[i]);
    const auto ub = static_cast<unsigned>(b[i]);
    const unsigned long long wide_a = static_cast<unsigned long long>(ua) << 32 | ub;
    const unsigned long long high = __umul64hi(wide_a, ~wide_a);
    const unsigned results[] = {static_cast<unsigned>(__mulhi(a[i], b[i])),
                                __umulhi(ua, ub),
                                static_cast<unsigned>(high >> 32),
                                static_cast<unsigned>(high),
                                __byte_perm(ua, ub, ua),
                                static_cast<unsigned>(__dp4a(a[i], b[i], 5)),
                                __dp4a(ua, ub, 5U),
                                static_cast<unsigned>(__clz(a[i])),
                                static_cast<unsigned>(__popc(ua)),
                                static_cast<unsigned>(__float2int_rn(x[i])),
                                static_cast<unsigned>(__float2int_rz(x[i])),
                                static_cast<unsigned>(min(a[i], b[i])),
                                max(ua, ub)};
    for (const unsigned result : results) *to++ = static_cast<int>(result);
  }
}

}  // namespace

extern "C" {

void run_indices(const unsigned* grid, const unsigned* block, unsigned* to) {
  launch("indices", &write_indices, {{grid[0], grid[1], grid[2]}, {block[0], block[1], block[2]}},
         nullptr, to);
}

void run_shuffles_int(const int* values, const int* operand, int width, int* to) {
  launch("shuffles", &shuffles<int>, {1, 32}, nullptr, values, operand, width, to);
}
void run_shuffles_double(const double* values, const int* operand, int width, double* to) {
  launch("shuffles", &shuffles<double>, {1, 32}, nullptr, values, operand, width, to);
}

void run_votes(const int* predicates, unsigned* to) {
  launch("votes", &votes, {1, 32}, nullptr, predicates, to);
}
void run_block_votes(const int* predicates, int* to) {
  launch("block_votes", &block_votes, {1, 96}, nullptr, predicates, to);
}

void run_multiply(int kind, unsigned blocks, const std::uint32_t* a, const std::uint32_t* b,
                  float* d) {
  const auto kernel = kind == 0 ? &multiply<0> : kind == 1 ? &multiply<1> : &multiply<2>;
  launch("multiply", kernel, {blocks, 32}, nullptr, a, b, d);
}

void run_load_matrices(const std::uint16_t* values, const int* index, std::uint32_t* to) {
  launch("load_matrices", &load_matrices, {1, 32}, nullptr, values, index, to);
}

void run_copies(int bytes, int* from, int* to) {
  const auto kernel = bytes == 4 ? &copies<4> : bytes == 8 ? &copies<8> : &copies<16>;
  launch("copies", kernel, {1, 32, 16 + 32 * static_cast<std::size_t>(bytes)}, nullptr, from, to);
}

void run_last_block(unsigned blocks, unsigned threads, const int* values, int* partials,
                    int* counter, int* order, int* sum) {
  launch("last_block", &last_block, {blocks, threads}, nullptr, values, partials, counter, order,
         sum);
}

void run_atomics(int* values) { launch("atomics", &atomics, {1, 64}, nullptr, values); }

void run_integers(const int* a, const int* b, const float* x, int count, int* to) {
  launch("integers", &integers, {1, 1}, nullptr, a, b, x, count, to);
}

void float_of_half(const std::uint16_t* from, int count, float* to) {
  for (int i = 0; i < count; ++i) to[i] = to_float(Half{from[i]});
}
void half_of_float(const float* from, int count, std::uint16_t* to) {
  for (int i = 0; i < count; ++i) to[i] = from_float<Half>(from[i]).bits;
}
void float_of_bfloat16(const std::uint16_t* from, int count, float* to) {
  for (int i = 0; i < count; ++i) to[i] = to_float(BFloat16{from[i]});
}
void bfloat16_of_float(const float* from, int count, std::uint16_t* to) {
  for (int i = 0; i < count; ++i) to[i] = from_float<BFloat16>(from[i]).bits;
}
void tf32_of_float(const float* from, int count, std::uint32_t* to) {
  for (int i = 0; i < count; ++i) to[i] = to_tf32(from[i]);
}

}  // extern "C"

}  // namespace goturn::cuda
