// Crop and resize, bit for bit as csrc/cpu/crop_resize.cpp; resample_taps.h has the arithmetic.
//
// A launch does all windows.  A block writes a few rows of one crop: it finds the taps of its rows
// and columns once, into shared memory, for they take double precision and divisions; what follows
// is integers.  Frames are read through the caches, a byte at a time, since pixels may lie at any
// strides.  Two crops of the network's size are 0.3 M values and less than 2 MB, so the launch is
// bound by latency.

#include <stdexcept>

#include "cuda/grid.h"
#include "cuda/ops.h"
#include "cuda/vectors.h"
#include "resample_taps.h"

namespace goturn::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kDepthThreads = 384;            // a row of the network's crop as 8 halves each
constexpr int kMostColumns = 256;             // of a block of space to depth
constexpr int kMostBlock = 256;               // of CropLayout::block
constexpr std::int64_t kMostWindows = 65535;  // of a grid's y; the kernels loop over the others

// What the taps of one output row or column need of a window's pixels.
struct ByteTaps {
  std::int64_t low;  // offsets from the visible part's first pixel
  std::int64_t high;
  int low_weight;
  int high_weight;
};

// Everything that is the same for all windows, as kernels take it.
struct Crops {
  std::int64_t count;
  int size;
  bool rgb;
  float mean[3];
  int block;  // of CropLayout
  int channels;
  int side;  // pixels a side in space to depth
};

__device__ __forceinline__ ByteTaps byte_taps(const AxisTaps& taps, std::int64_t stride) {
  return {taps.low * stride, taps.high * stride, taps.weights.low, taps.weights.high};
}

// The taps of `rows` output rows from `first_row` and of `columns` columns from `first_column`, by
// the whole block; the crop's edge is repeated.
__device__ __forceinline__ void find_taps(const Frame& frame, const CropWindow& window, int size,
                                          int first_row, int rows, int first_column, int columns,
                                          const Shared<ByteTaps>& row_taps_of,
                                          const Shared<ByteTaps>& column_taps_of) {
  const int threads = static_cast<int>(blockDim.x);
  for (int i = static_cast<int>(threadIdx.x); i < rows + columns; i += threads) {
    if (i < columns) {
      const int column = min(first_column + i, size - 1);
      column_taps_of[i] = byte_taps(column_taps(column, window, size), frame.column_stride);
    } else {
      const int row = min(first_row + (i - columns), size - 1);
      row_taps_of[i - columns] = byte_taps(row_taps(row, window, size), frame.row_stride);
    }
  }
}

// One value of a crop, `pixels` being the visible part's first of the channel.
__device__ __forceinline__ float value_at(const std::uint8_t* pixels, const ByteTaps& row,
                                          const ByteTaps& column, float mean) {
  const std::uint8_t* low = pixels + row.low;
  const std::uint8_t* high = pixels + row.high;
  const int across_low = (__ldg(low + column.low) * column.low_weight +
                          __ldg(low + column.high) * column.high_weight) >>
                         4;
  const int across_high = (__ldg(high + column.low) * column.low_weight +
                           __ldg(high + column.high) * column.high_weight) >>
                          4;
  const int sum = ((across_low * row.low_weight) >> 16) + ((across_high * row.high_weight) >> 16);
  return static_cast<float>((sum + 2) >> 2) - mean;
}

__device__ __forceinline__ const std::uint8_t* visible_part(const Frame& frame,
                                                            const CropWindow& window) {
  return frame.pixels + window.top * frame.row_stride + window.left * frame.column_stride;
}

// The frame's channel of an output plane, as an offset.
__device__ __forceinline__ std::int64_t plane_offset(const Frame& frame, bool rgb, int plane) {
  return frame.channels == 1 ? 0 : (rgb ? 2 - plane : plane) * frame.channel_stride;
}

constexpr int kRows = 4;  // of a block

// (N, 3, size, size): a block for kRows rows of kThreads columns, a thread for each column.
__global__ void crop_to_planes(const Frame* frames, const CropWindow* windows, Crops crops,
                               float* output) {
  GOTURN_SHARED(ByteTaps, rows, kRows);
  GOTURN_SHARED(ByteTaps, columns, kThreads);
  wait_for_previous_kernel();
  let_next_kernel_start();
  const Frame frame = *frames;
  const int size = crops.size;
  const int stretches = (size + kThreads - 1) / kThreads;
  const int first_row = static_cast<int>(blockIdx.x) / stretches * kRows;
  const int first_column = static_cast<int>(blockIdx.x) % stretches * kThreads;
  const int thread = static_cast<int>(threadIdx.x);
  for (std::int64_t index = blockIdx.y; index < crops.count; index += gridDim.y) {
    const CropWindow window = windows[index];
    find_taps(frame, window, size, first_row, kRows, first_column, kThreads, rows, columns);
    __syncthreads();
    const int x = first_column + thread;
    if (x < size) {
      const ByteTaps column = columns[thread];
      const std::uint8_t* pixels = visible_part(frame, window);
      float values[kRows][3];  // all loads before the first store; rows beyond the crop count not
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const ByteTaps row = rows[i];
#pragma unroll
        for (int plane = 0; plane < 3; ++plane) {
          const std::uint8_t* from = pixels + plane_offset(frame, crops.rgb, plane);
          values[i][plane] = value_at(from, row, column, crops.mean[plane]);
        }
      }
#pragma unroll
      for (int i = 0; i < kRows; ++i) {
        const int y = first_row + i;
        if (y >= size) break;
#pragma unroll
        for (int plane = 0; plane < 3; ++plane) {
          output[((index * 3 + plane) * size + y) * size + x] = values[i][plane];
        }
      }
    }
    __syncthreads();
  }
}

// Space to depth, NHWC: a block for a stretch of `stretch` pixels of one row, a thread for kCount
// channels of a pixel at a time.
template <int kCount, class T>
__global__ void crop_to_depth(const Frame* frames, const CropWindow* windows, Crops crops,
                              int stretch, T* output) {
  SharedMemory memory;
  const Shared<ByteTaps> rows = memory.take<ByteTaps>(crops.block);
  const Shared<ByteTaps> columns = memory.take<ByteTaps>(crops.block * stretch);
  wait_for_previous_kernel();
  let_next_kernel_start();
  const Frame frame = *frames;
  const int block = crops.block;
  const int stretches = (crops.side + stretch - 1) / stretch;
  const int row = static_cast<int>(blockIdx.x) / stretches;
  const int first_pixel = static_cast<int>(blockIdx.x) % stretches * stretch;
  const int pixels = min(stretch, crops.side - first_pixel);
  const int vectors = crops.channels / kCount;
  std::int64_t plane_offsets[3];
#pragma unroll
  for (int plane = 0; plane < 3; ++plane) {
    plane_offsets[plane] = plane_offset(frame, crops.rgb, plane);
  }
  for (std::int64_t index = blockIdx.y; index < crops.count; index += gridDim.y) {
    const CropWindow window = windows[index];
    find_taps(frame, window, crops.size, row * block, block, first_pixel * block, pixels * block,
              rows, columns);
    __syncthreads();
    const std::uint8_t* from = visible_part(frame, window);
    T* to = output +
            ((index * crops.side + row) * crops.side + first_pixel) * std::int64_t{crops.channels};
    for (int i = static_cast<int>(threadIdx.x); i < pixels * vectors; i += kDepthThreads) {
      const int pixel = i / vectors;
      const int first_channel = (i - pixel * vectors) * kCount;
      int plane = first_channel % 3;
      int down = first_channel / 3 / block;  // in the block of pixels
      int right = first_channel / 3 - down * block;
      float values[kCount];
#pragma unroll
      for (int j = 0; j < kCount; ++j) {
        const int x = (first_pixel + pixel) * block + right;
        const int y = row * block + down;
        const std::int64_t offset =
            plane == 0 ? plane_offsets[0] : (plane == 1 ? plane_offsets[1] : plane_offsets[2]);
        const float mean =
            plane == 0 ? crops.mean[0] : (plane == 1 ? crops.mean[1] : crops.mean[2]);
        const ByteTaps row_tap = rows[min(down, block - 1)];
        const ByteTaps column_tap = columns[pixel * block + right];
        // No branch about it: the loads of all values are under way at once.
        const float value = value_at(from + offset, row_tap, column_tap, mean);
        values[j] = down < block && x < crops.size && y < crops.size ? value : 0.0F;
        if (++plane == 3) {
          plane = 0;
          if (++right == block) {
            right = 0;
            ++down;
          }
        }
      }
      store_vector(values, to + pixel * std::int64_t{crops.channels} + first_channel);
    }
    __syncthreads();
  }
}

template <int kCount, class T>
void launch_depth(const Frame* frame, const CropWindow* windows, const Crops& crops, T* output,
                  Stream stream) {
  // In whole pixels, so many columns that the taps take little shared memory.
  const int stretch = std::min(std::max(1, kMostColumns / crops.block), crops.side);
  Launch how;
  how.grid = dim3(static_cast<unsigned>(divide_up(crops.side, stretch) * crops.side),
                  static_cast<unsigned>(std::min(crops.count, kMostWindows)));
  how.block = dim3(kDepthThreads);
  how.shared_bytes =
      static_cast<std::size_t>(SharedMemory::shared_size<ByteTaps>(crops.block) +
                               SharedMemory::shared_size<ByteTaps>(crops.block * stretch));
  how.overlap_previous = true;
  launch("crop_resize", crop_to_depth<kCount, T>, how, stream, frame, windows, crops, stretch,
         output);
}

}  // namespace

void crop_resize(const Frame* frame, const CropWindow* windows, std::int64_t count,
                 const CropResizeParameters& parameters, const CropLayout& layout, void* crops,
                 Stream stream) {
  if (count == 0) return;
  const auto size = static_cast<int>(parameters.size);
  Crops shape{count, size, parameters.rgb, {}, layout.block, layout.channels, 0};
  for (std::size_t plane = 0; plane < 3; ++plane) {
    shape.mean[plane] = static_cast<float>(parameters.mean[plane]);
  }
  if (layout.block == 0) {
    Launch how;
    how.grid = dim3(static_cast<unsigned>(divide_up(size, kRows) * divide_up(size, kThreads)),
                    static_cast<unsigned>(std::min(count, kMostWindows)));
    how.block = dim3(kThreads);
    how.overlap_previous = true;
    launch("crop_resize", crop_to_planes, how, stream, frame, windows, shape,
           static_cast<float*>(crops));
    return;
  }
  if (layout.block < 0 || layout.block > kMostBlock ||
      layout.channels < 3 * layout.block * layout.block) {
    throw std::invalid_argument(
        "crop_resize: space to depth is for blocks of 1 to 256 pixels a side and at least 3 "
        "channels "
        "for each of a block's pixels");
  }
  shape.side = static_cast<int>(divide_up(size, layout.block));
  dispatch(layout.type, [&](auto zero) {
    using T = decltype(zero);
    auto* to = static_cast<T*>(crops);
    if (layout.channels % kVector<T> == 0 && aligned16(to)) {
      launch_depth<kVector<T>>(frame, windows, shape, to, stream);
    } else {
      launch_depth<1>(frame, windows, shape, to, stream);
    }
  });
}

}  // namespace goturn::cuda
