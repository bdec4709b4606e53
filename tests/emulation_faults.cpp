// Kernels with one fault each, which csrc/emulation must report, and without it where `fixed`.
#include <cstring>
#include <stdexcept>
#include <string>

#include "cuda/matrix.h"
#include "cuda/platform.h"
#include "emulation/settings.h"

namespace goturn::cuda {
namespace {

constexpr unsigned kAll = 0xFFFFFFFFU;

// -- waiting --------------------------------------------------------------------------------------

__global__ void barrier_after_exit(int*, bool fixed) {
  if (threadIdx.x == 40 && !fixed) return;
  __syncthreads();
}

__global__ void exit_after_barrier(int*, bool fixed) {
  if (threadIdx.x == 40 && !fixed) {
    for (int i = 0; i < 2; ++i) __syncthreads();
    return;
  }
  for (int i = 0; i < (fixed ? 2 : 3); ++i) __syncthreads();
}

__global__ void barrier_elsewhere(int*, bool fixed) {
  if (threadIdx.x < 32 && !fixed) {
    if (threadIdx.x == 5) {
      __syncwarp();
    } else {
      __syncthreads();
    }
    return;
  }
  __syncthreads();
}

__global__ void two_barriers(int*, bool fixed) {
  if (threadIdx.x < 32 && !fixed) {
    __syncthreads_or(1);
  } else {
    __syncthreads();
  }
}

__global__ void shuffle_after_exit(int* data, bool fixed) {
  if (threadIdx.x == 3 && !fixed) return;
  data[threadIdx.x] = __shfl_xor_sync(kAll, 1, 16);
}

__global__ void shuffle_before_exit(int* data, bool fixed) {
  if (threadIdx.x == 31 && !fixed) return;
  data[threadIdx.x] = __shfl_xor_sync(kAll, 1, 16);
}

__global__ void other_operation(int* data, bool fixed) {
  if (threadIdx.x == 7 && !fixed) {
    data[0] = __shfl_down_sync(kAll, 1, 1);
  } else {
    data[0] = __shfl_up_sync(kAll, 1, 1);
  }
}

__global__ void mask_without_self(int*, bool fixed) { __syncwarp(fixed ? kAll : 0xFFFFU); }

__global__ void masks_differ(int*, bool fixed) {
  __syncwarp(threadIdx.x == 9 && !fixed ? 0x7FFFFFFFU : kAll);
}

__global__ void shuffle_from_absent(int* data, bool fixed) {  // of a warp's last 8 lanes
  data[threadIdx.x] = __shfl_xor_sync(kAll, 1, fixed ? 4 : 8);
}

__global__ void mma_of_part(int*, bool fixed) {
  float d[4] = {};
  const std::uint32_t a[4] = {};
  const std::uint32_t b[2] = {};
  if (!fixed) mma_tf32(d, a, b);
}

__global__ void mma_in_branch(int*, bool fixed) {
  float d[4] = {};
  const std::uint32_t a[4] = {};
  const std::uint32_t b[2] = {};
  if (threadIdx.x != 0 || fixed) mma_f16(d, a, b);
}

__global__ void trap(int*, bool fixed) {
  if (!fixed && threadIdx.x == 33) __trap();
}

__global__ void never_waits(int*, bool fixed) {
  if (fixed) wait_for_previous_kernel();
}

// -- memory ---------------------------------------------------------------------------------------

__global__ void reads_nothing(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  if (threadIdx.x < 63 || fixed) tile[threadIdx.x] = 1;
  __syncthreads();
  data[threadIdx.x] = tile[63 - threadIdx.x];
}

__global__ void reads_byte_of_nothing(int* data, bool fixed) {
  GOTURN_SHARED(unsigned char, tile, 64);
  if (threadIdx.x != 6 || fixed) tile[threadIdx.x] = 1;
  __syncthreads();
  data[threadIdx.x] = static_cast<int>(tile.load<unsigned>(4));
}

__global__ void reads_of_block_before(int* data, bool fixed) {  // on a grid of two blocks
  SharedMemory memory;
  const Shared<int> tile = memory.take<int>(64);
  const int ticket = threadIdx.x == 0 ? atomicAdd(data, 1) : 0;
  if (__syncthreads_or(ticket) == 0 || fixed) tile[threadIdx.x] = 1;
  __syncthreads();
  data[1 + threadIdx.x] = tile[threadIdx.x];
}

__global__ void past_end(int*, bool fixed) {
  GOTURN_SHARED(float, tile, 64);
  tile[threadIdx.x + (fixed ? 0 : 1)] = 1.0F;
}

__global__ void before_start(int*, bool fixed) {
  GOTURN_SHARED(float, before, 64);
  GOTURN_SHARED(float, tile, 64);
  before[threadIdx.x] = 1.0F;
  (tile + static_cast<int>(threadIdx.x))[fixed ? 0 : -1] = 1.0F;
}

__global__ void vector_past_end(int*, bool fixed) {
  GOTURN_SHARED(float, tile, 66);
  if (threadIdx.x == 0) tile.store(fixed ? 60 : 64, make_float4(0, 0, 0, 0));
}

__global__ void past_dynamic(int*, bool fixed) {
  SharedMemory memory;
  memory.take<float>(fixed ? 32 : 48);
  memory.take<float>(32);
}

__global__ void static_too_large(int*, bool fixed) {
  if (fixed) return;
  GOTURN_SHARED(float, tile, 12 * 1024 + 1);
  tile[0] = 1.0F;
}

__global__ void misaligned_vector(int*, bool fixed) {
  GOTURN_SHARED(float, tile, 64);
  if (threadIdx.x == 2) tile.store(fixed ? 4 : 2, make_float4(0, 0, 0, 0));
}

__global__ void misaligned_copy_from(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  if (threadIdx.x == 0) copy_async<16>(tile, 0, data + (fixed ? 4 : 1));
}

__global__ void misaligned_copy_to(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  if (threadIdx.x == 0) copy_async<8>(tile, fixed ? 2 : 1, data);
}

__global__ void misaligned_row(int*, bool fixed) {  // one warp
  GOTURN_SHARED(std::uint16_t, tile, 32 * 12);
  for (unsigned i = threadIdx.x; i < 32 * 12; i += 32) tile[i] = 0;
  __syncthreads();
  std::uint32_t to[4];
  load_matrix_x4(to, tile, static_cast<int>(threadIdx.x) * (fixed ? 8 : 12));
}

__global__ void misaligned_global(int* data, bool fixed) {
  const auto* from = reinterpret_cast<const int4*>(data + (fixed ? 4 : 5));
  data[0] = __ldg(from).x;
}

// -- races ----------------------------------------------------------------------------------------

__global__ void write_then_read(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  tile[threadIdx.x] = 1;
  if (fixed) __syncthreads();
  data[threadIdx.x] = tile[63 - threadIdx.x];
}

__global__ void read_then_write(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  tile[threadIdx.x] = 1;
  __syncthreads();
  data[threadIdx.x] = tile[63 - threadIdx.x];
  if (fixed) __syncthreads();
  tile[threadIdx.x] = 2;
}

__global__ void write_twice(int*, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  tile[fixed ? threadIdx.x : threadIdx.x / 2] = 1;
}

__global__ void within_warp(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  tile[threadIdx.x] = 1;
  if (fixed) __syncwarp();
  data[threadIdx.x] = tile[threadIdx.x ^ 1];
}

__global__ void shuffle_orders_nothing(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  tile[threadIdx.x] = 1;
  __shfl_xor_sync(kAll, 1, 1);
  if (fixed) __syncwarp();
  data[threadIdx.x] = tile[threadIdx.x ^ 1];
}

__global__ void across_warps(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  tile[threadIdx.x] = 1;
  __syncwarp();
  data[threadIdx.x] = tile[fixed ? threadIdx.x ^ 1 : threadIdx.x ^ 32];
}

__global__ void reader_of_another_warp(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 1);
  if (threadIdx.x == 0) tile[0] = 1;
  __syncthreads();
  if (threadIdx.x % 32 == 0) data[threadIdx.x] = tile[0];  // both warps
  __syncwarp();
  if (fixed) __syncthreads();
  if (threadIdx.x == 1) tile[0] = 2;
}

__global__ void bytes_of_a_word(int*, bool fixed) {  // neighbours are no race, the same byte is
  GOTURN_SHARED(unsigned char, tile, 64);
  tile[fixed || threadIdx.x != 5 ? threadIdx.x : 4] = 1;
}

__global__ void atomic_and_store(int*, bool fixed) {
  GOTURN_SHARED(int, sum, 1);
  if (threadIdx.x == 0) sum[0] = 0;
  __syncthreads();
  atomicAdd(&sum[0], 1);
  if (fixed) __syncthreads();
  if (threadIdx.x == 63) sum[0] = 5;
}

__global__ void matrix_rows(int*, bool fixed) {  // one warp, each lane reads what it wrote
  GOTURN_SHARED(std::uint16_t, tile, 32 * 8);
  tile.store(static_cast<int>(threadIdx.x) * 8, make_uint4(0, 0, 0, 0));
  if (fixed) __syncwarp();
  std::uint32_t to[4];
  load_matrix_x4(to, tile, static_cast<int>(threadIdx.x) * 8);
}

// -- asynchronous copies --------------------------------------------------------------------------

__global__ void copy_without_wait(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  copy_async<4>(tile, static_cast<int>(threadIdx.x), data + threadIdx.x);
  copy_async_commit();
  if (fixed) copy_async_wait<0>();
  data[threadIdx.x] = tile[threadIdx.x];
}

__global__ void copy_without_commit(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  copy_async<4>(tile, static_cast<int>(threadIdx.x), data + threadIdx.x);
  if (fixed) copy_async_commit();
  copy_async_wait<0>();
  data[threadIdx.x] = tile[threadIdx.x];
}

__global__ void wait_for_older(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 128);
  for (int i = 0; i < 2; ++i) {
    copy_async<4>(tile, static_cast<int>(threadIdx.x) + 64 * i, data + threadIdx.x);
    copy_async_commit();
  }
  copy_async_wait<1>();
  data[threadIdx.x] = tile[threadIdx.x + (fixed ? 0 : 64)];
}

__global__ void copy_without_barrier(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  copy_async<4>(tile, static_cast<int>(threadIdx.x), data + threadIdx.x);
  copy_async_commit();
  copy_async_wait<0>();
  if (fixed) __syncthreads();
  data[threadIdx.x] = tile[63 - threadIdx.x];
}

__global__ void barrier_before_wait(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  copy_async<4>(tile, static_cast<int>(threadIdx.x), data + threadIdx.x);
  copy_async_commit();
  if (fixed) copy_async_wait<0>();
  __syncthreads();
  if (!fixed) copy_async_wait<0>();
  data[threadIdx.x] = tile[63 - threadIdx.x];
}

__global__ void copy_over_readers(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  tile[threadIdx.x] = 1;
  __syncthreads();
  data[threadIdx.x] = tile[63 - threadIdx.x];
  if (fixed) __syncthreads();
  copy_async<4>(tile, static_cast<int>(threadIdx.x), data + threadIdx.x);
}

__global__ void store_into_copy(int* data, bool fixed) {
  GOTURN_SHARED(int, tile, 64);
  copy_async<4>(tile, static_cast<int>(threadIdx.x), data + threadIdx.x);
  copy_async_commit();
  if (fixed) copy_async_wait<0>();
  tile[threadIdx.x] = 2;
}

struct Case {
  const char* name;
  void (*kernel)(int*, bool);
  Launch how;
};

#define GOTURN_CASE(kernel, ...)      \
  {                                   \
    #kernel, &kernel, { __VA_ARGS__ } \
  }
const Case kCases[] = {
    GOTURN_CASE(barrier_after_exit, 3, 64),
    GOTURN_CASE(exit_after_barrier, 1, 64),
    GOTURN_CASE(barrier_elsewhere, 1, 64),
    GOTURN_CASE(two_barriers, 1, 64),
    GOTURN_CASE(shuffle_after_exit, 1, 64),
    GOTURN_CASE(shuffle_before_exit, 1, 64),
    GOTURN_CASE(other_operation, 1, 32),
    GOTURN_CASE(mask_without_self, 1, 32),
    GOTURN_CASE(masks_differ, 1, 32),
    GOTURN_CASE(shuffle_from_absent, 1, 40),
    GOTURN_CASE(mma_of_part, 1, 16),
    GOTURN_CASE(mma_in_branch, 1, 32),
    GOTURN_CASE(trap, 2, 64),
    GOTURN_CASE(never_waits, 1, 64, 0, true),
    GOTURN_CASE(reads_nothing, 1, 64),
    GOTURN_CASE(reads_byte_of_nothing, 1, 64),
    GOTURN_CASE(reads_of_block_before, 2, 64, 256),
    GOTURN_CASE(past_end, 1, 64),
    GOTURN_CASE(before_start, 1, 64),
    GOTURN_CASE(vector_past_end, 1, 64),
    GOTURN_CASE(past_dynamic, 1, 64, 256),
    GOTURN_CASE(static_too_large, 1, 64),
    GOTURN_CASE(misaligned_vector, 1, 64),
    GOTURN_CASE(misaligned_copy_from, 1, 64),
    GOTURN_CASE(misaligned_copy_to, 1, 64),
    GOTURN_CASE(misaligned_row, 1, 32),
    GOTURN_CASE(misaligned_global, 1, 1),
    GOTURN_CASE(write_then_read, 1, 64),
    GOTURN_CASE(read_then_write, 1, 64),
    GOTURN_CASE(write_twice, 1, 64),
    GOTURN_CASE(within_warp, 1, 64),
    GOTURN_CASE(shuffle_orders_nothing, 1, 64),
    GOTURN_CASE(across_warps, 1, 64),
    GOTURN_CASE(reader_of_another_warp, 1, 64),
    GOTURN_CASE(bytes_of_a_word, 1, 64),
    GOTURN_CASE(atomic_and_store, 1, 64),
    GOTURN_CASE(matrix_rows, 1, 32),
    GOTURN_CASE(copy_without_wait, 1, 64),
    GOTURN_CASE(copy_without_commit, 1, 64),
    GOTURN_CASE(wait_for_older, 1, 64),
    GOTURN_CASE(copy_without_barrier, 1, 64),
    GOTURN_CASE(barrier_before_wait, 1, 64),
    GOTURN_CASE(copy_over_readers, 1, 64),
    GOTURN_CASE(store_into_copy, 1, 64),
};

__global__ void nothing(int*, bool) {}

template <class Body>
const char* error_of(const Body& body) {
  static thread_local std::string text;
  try {
    body();
    return "";
  } catch (const std::runtime_error& error) {
    text = error.what();
    return text.c_str();
  }
}

}  // namespace

extern "C" {

// The error of a case, "" for none.
const char* run_fault(const char* name, bool fixed) {
  return error_of([&] {
    for (const Case& one : kCases) {
      if (std::strcmp(one.name, name) != 0) continue;
      alignas(16) int data[256] = {};
      launch(one.name, one.kernel, one.how, nullptr, &data[0], fixed);
      return;
    }
    throw std::runtime_error("no such case");
  });
}

const char* fault_name(int index) {
  const int count = static_cast<int>(sizeof kCases / sizeof kCases[0]);
  return index < count ? kCases[index].name : nullptr;
}

const char* run_geometry(unsigned grid_x, unsigned grid_y, unsigned block_x, unsigned block_y,
                         unsigned shared_bytes) {
  return error_of([&] {
    launch("nothing", &nothing, {{grid_x, grid_y}, {block_x, block_y}, shared_bytes}, nullptr,
           nullptr, true);
  });
}

void set_emulation(bool checks, unsigned seed, int capability, bool truncate) {
  emulation::set_settings({checks, seed, capability, truncate});
}

}  // extern "C"

}  // namespace goturn::cuda
