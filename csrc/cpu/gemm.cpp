// Matrix products from tiles that stay in registers (kernels.h).
//
// Both operands are packed into panels in the order in which a tile reads them: a's as high as a
// tile, once for all threads; b's as wide as a tile, by each piece of work for itself.  A piece of
// work is a strip of columns by a group of rows: it packs a block of its strip (256 kB at most, to
// stay in L2), passes all of its row panels over it (6 kB each, from L1), and goes on to the next
// block of the depth.  Pieces do not share outputs, and their bounds depend on the shape alone.
//
// Per value packed there are as many products as the piece has rows: with 50 rows, the fc layers in
// training, packing is a fifth of the time; with 384 it hardly shows.

#include "cpu/gemm.h"

#include <algorithm>
#include <cstring>

#include "cpu/buffer.h"
#include "cpu/gemm_sse2.h"
#include "cpu/kernels.h"
#include "cpu/threads.h"

namespace goturn::cpu {
namespace {

constexpr std::int64_t kDepthPerBlock = 256;
constexpr std::int64_t kMaxStrip = 192;  // columns
constexpr std::int64_t kStrips = 16;     // of columns, where there are enough
constexpr std::int64_t kMaxUpdateStrip = 512;
constexpr std::int64_t kLine = 16;   // floats of a cache line
constexpr std::int64_t kCopied = 8;  // floats; divides the width of every tile
constexpr std::int64_t kRowsPerTask = 768;
constexpr std::int64_t kPackedRows = std::int64_t{1} << 20;  // values of `a` packed at a time
constexpr std::int64_t kStripValues = std::int64_t{1} << 16;
constexpr std::int64_t kRowsAhead = 16;  // that are asked for while one is packed
constexpr int kMaxTileRows = 16;
constexpr int kMaxTileColumns = 32;
static_assert(kDepthPerBlock * kMaxStrip <= kStripValues);
static_assert(kMaxUpdateDepth * kMaxTileColumns <= kStripValues);

// The packed block of a strip, one a thread.
alignas(64) thread_local float strip_buffer[kStripValues];

// Values (first + i, k) for i of [0, count) and k of [begin, begin + length) as to[k * width + i];
// zeros for i from count to width.
void pack_panel(const Operand& from, std::int64_t first, std::int64_t count, std::int64_t width,
                std::int64_t begin, std::int64_t length, float* to) {
  if (count < width) std::memset(to, 0, static_cast<std::size_t>(length * width) * sizeof(float));
  if (from.offsets != nullptr) {
    const std::int64_t* offsets = from.offsets + first;
    for (std::int64_t k = 0; k < length; ++k) {
      const float* values = from.data + from.depth_offsets[begin + k];
      for (std::int64_t i = 0; i < count; ++i) to[k * width + i] = values[offsets[i]];
    }
    return;
  }
  const float* values = from.data + first * from.stride + begin * from.depth_stride;
  if (from.stride == 1) {
    for (std::int64_t k = 0; k < length; ++k) {
      for (std::int64_t i = 0; i < count; ++i) to[k * width + i] = values[i];
      values += from.depth_stride;
    }
    return;
  }
  // A cache line of each row at a time: rows may lie a multiple of 4096 bytes apart.
  for (std::int64_t block = 0; block < length; block += kLine) {
    const std::int64_t end = std::min(length, block + kLine);
    std::int64_t i = 0;
#if defined(__SSE2__)
    if (from.depth_stride == 1 && end - block == kLine) {
      for (; i + 4 <= count; i += 4) {
        for (std::int64_t k = block; k < end; k += 4) {
          sse2::transpose_4x4(values + i * from.stride + k, from.stride, to + k * width + i, width);
        }
      }
    }
#endif
    for (; i < count; ++i) {
      const float* row = values + i * from.stride;
      for (std::int64_t k = block; k < end; ++k) to[k * width + i] = row[k * from.depth_stride];
    }
  }
}

// Columns [first, last) of `b` and a stretch of the depth, as panels one after the other.
void pack_strip(const Operand& b, std::int64_t first, std::int64_t last, std::int64_t width,
                std::int64_t begin, std::int64_t length, float* to) {
  const std::int64_t whole = b.stride == 1 ? (last - first) / width * width : 0;
  for (std::int64_t k = 0; whole > 0 && k < length; ++k) {
    // Along the rows, since each may be in a page of its own.
    const float* row = b.data + first + (begin + k) * b.depth_stride;
    const float* ahead = row + std::min(kRowsAhead, length - 1 - k) * b.depth_stride;
    for (std::int64_t n = 0; n < whole; n += width) {
      float* const values = to + n * length + k * width;
      __builtin_prefetch(ahead + n);
      for (std::int64_t i = 0; i < width; i += kCopied) {
        std::memcpy(values + i, row + n + i, kCopied * sizeof(float));
      }
    }
  }
  for (std::int64_t n = first + whole; n < last; n += width) {
    pack_panel(b, n, std::min(width, last - n), width, begin, length, to + (n - first) * length);
  }
}

// Rows [first_row, first_row + rows) of `a`, a stretch of the depth, packed for all threads.
struct PackedRows {
  std::int64_t first_row;
  std::int64_t rows;
  std::int64_t begin;  // of the depth
  std::int64_t length;
  Floats panels;

  // Where the panel that starts `row` rows in begins, at `depth` of it.
  const float* at(std::int64_t row, std::int64_t depth, int tile_rows) const {
    return panels.get() + row * length + depth * tile_rows;
  }
};

void pack_rows(const Kernels& k, const Operand& a, PackedRows& packed) {
  const std::int64_t height = k.tile_pixels;
  const std::int64_t panels = divide_up(packed.rows, height);
  const std::int64_t blocks = divide_up(packed.length, kDepthPerBlock);
  parallel_for(panels * blocks, [&](std::int64_t task) {
    const std::int64_t row = task / blocks * height;
    const std::int64_t depth = task % blocks * kDepthPerBlock;
    pack_panel(a, packed.first_row + row, std::min(height, packed.rows - row), height,
               packed.begin + depth, std::min(kDepthPerBlock, packed.length - depth),
               packed.panels.get() + row * packed.length + depth * height);
  });
}

// How rows and columns are cut into pieces of work.
struct Pieces {
  std::int64_t strip;  // columns of a piece
  std::int64_t strips;
  std::int64_t group;  // rows of a piece, whole panels
  std::int64_t groups;

  Pieces(const Kernels& k, std::int64_t rows, std::int64_t columns, std::int64_t wanted_strip)
      : strip(round_up(std::max<std::int64_t>(wanted_strip, 1), k.tile_channels)),
        strips(divide_up(columns, strip)),
        group(round_up(divide_up(rows, divide_up(rows, kRowsPerTask)), k.tile_pixels)),
        groups(divide_up(rows, group)) {}
};

// The part of the outputs that one piece of work makes.
struct Piece {
  std::int64_t first_row;  // within the packed rows
  std::int64_t last_row;
  std::int64_t first_column;
  std::int64_t last_column;

  Piece(const Pieces& pieces, std::int64_t rows, std::int64_t columns, std::int64_t task)
      : first_row(task / pieces.strips * pieces.group),
        last_row(std::min(rows, first_row + pieces.group)),
        first_column(task % pieces.strips * pieces.strip),
        last_column(std::min(columns, first_column + pieces.strip)) {}
};

// Copies `rows` rows of `columns` values.
void copy_tile(const float* from, std::int64_t from_stride, int rows, std::int64_t columns,
               float* to, std::int64_t to_stride) {
  for (int row = 0; row < rows; ++row) {
    std::copy_n(from + row * from_stride, columns, to + row * to_stride);
  }
}

void multiply(const Kernels& k, const PackedRows& a, const Product& product, bool add, float* c,
              std::int64_t c_stride) {
  const std::int64_t width = k.tile_channels;
  const std::int64_t wanted = std::min(kMaxStrip, divide_up(product.columns, kStrips));
  const Pieces pieces(k, a.rows, product.columns, wanted);
  parallel_for(pieces.strips * pieces.groups, [&](std::int64_t task) {
    const Piece piece(pieces, a.rows, product.columns, task);
    float* const strip = strip_buffer;
    for (std::int64_t depth = 0; depth < a.length; depth += kDepthPerBlock) {
      const std::int64_t length = std::min(kDepthPerBlock, a.length - depth);
      const bool more = add || depth > 0;
      pack_strip(product.b, piece.first_column, piece.last_column, width, a.begin + depth, length,
                 strip);
      for (std::int64_t m = piece.first_row; m < piece.last_row; m += k.tile_pixels) {
        const auto rows =
            static_cast<int>(std::min<std::int64_t>(k.tile_pixels, piece.last_row - m));
        const float* left = a.at(m, depth, k.tile_pixels);
        for (std::int64_t n = piece.first_column; n < piece.last_column; n += width) {
          const float* right = strip + (n - piece.first_column) * length;
          float* to = c + (a.first_row + m) * c_stride + n;
          const std::int64_t columns = std::min(width, piece.last_column - n);
          if (columns == width) {
            k.gemm_tile(rows, left, right, length, more, to, c_stride);
            continue;
          }
          alignas(64) float partial[kMaxTileRows * kMaxTileColumns] = {};
          if (more) copy_tile(to, c_stride, rows, columns, partial, width);
          k.gemm_tile(rows, left, right, length, more, partial, width);
          copy_tile(partial, width, rows, columns, to, c_stride);
        }
      }
    }
  });
}

// Asks for `rows` rows of a tile, a line each, to be in the second cache soon.
void prefetch(const float* values, std::int64_t stride, int rows) {
  for (int row = 0; row < rows; ++row) __builtin_prefetch(values + row * stride, 1, 2);
}

void update(const Kernels& k, const PackedRows& a, const Product& product, const SgdRates& rates,
            float* weight, float* velocity) {
  const std::int64_t width = k.tile_channels;
  const std::int64_t panel = std::max<std::int64_t>(product.depth, 1) * width;
  const Pieces pieces(k, a.rows, product.columns,
                      std::min(kMaxUpdateStrip, kStripValues / panel * width));
  parallel_for(pieces.strips * pieces.groups, [&](std::int64_t task) {
    const Piece piece(pieces, a.rows, product.columns, task);
    const std::int64_t columns = piece.last_column - piece.first_column;
    float* const strip = strip_buffer;
    alignas(64) float gradient[kMaxTileRows * kMaxUpdateStrip];
    pack_strip(product.b, piece.first_column, piece.last_column, width, 0, a.length, strip);
    for (std::int64_t m = piece.first_row; m < piece.last_row; m += k.tile_pixels) {
      const auto rows = static_cast<int>(std::min<std::int64_t>(k.tile_pixels, piece.last_row - m));
      const std::int64_t first = (a.first_row + m) * product.columns + piece.first_column;
      for (std::int64_t n = 0; n < columns; n += width) {
        // What the gradient will change comes from memory while it is made.
        for (std::int64_t line = n; line < std::min(columns, n + width); line += kLine) {
          prefetch(weight + first + line, product.columns, rows);
          prefetch(velocity + first + line, product.columns, rows);
        }
        k.gemm_tile(rows, a.at(m, 0, k.tile_pixels), strip + n * a.length, a.length, false,
                    gradient + n, kMaxUpdateStrip);
      }
      // Row by row: rows a multiple of 4096 bytes apart compete for a few places in the cache.
      for (int row = 0; row < rows; ++row) {
        const std::int64_t at = first + row * product.columns;
        k.sgd(columns, rates.rate, rates.momentum, rates.decay, gradient + row * kMaxUpdateStrip,
              weight + at, velocity + at);
      }
    }
  });
}

}  // namespace

void gemm(const Product& product, float* c, std::int64_t c_stride, bool add) {
  if (product.rows == 0 || product.columns == 0) return;
  if (product.depth == 0) {
    for (std::int64_t m = 0; m < product.rows && !add; ++m) {
      std::fill_n(c + m * c_stride, product.columns, 0.0F);
    }
    return;
  }
  const Kernels& k = kernels();
  const std::int64_t row_step = round_up(kPackedRows / kDepthPerBlock, k.tile_pixels);
  const std::int64_t rows = std::min(product.rows, row_step);
  const std::int64_t height = round_up(rows, k.tile_pixels);
  const std::int64_t depth_step =
      std::max<std::int64_t>(1, kPackedRows / height / kDepthPerBlock) * kDepthPerBlock;
  PackedRows a{0, 0, 0, 0, floats(height * std::min(depth_step, product.depth))};
  for (std::int64_t row = 0; row < product.rows; row += row_step) {
    a.first_row = row;
    a.rows = std::min(row_step, product.rows - row);
    for (std::int64_t depth = 0; depth < product.depth; depth += depth_step) {
      a.begin = depth;
      a.length = std::min(depth_step, product.depth - depth);
      pack_rows(k, product.a, a);
      multiply(k, a, product, add || depth > 0, c, c_stride);
    }
  }
}

void gemm_update(const Product& product, const SgdRates& rates, float* weight, float* velocity) {
  if (product.rows == 0 || product.columns == 0) return;
  const Kernels& k = kernels();
  // A batch of none still decays.
  const std::int64_t depth = std::max<std::int64_t>(product.depth, 1);
  const std::int64_t row_step = round_up(divide_up(kPackedRows, depth), k.tile_pixels);
  const std::int64_t height = round_up(std::min(product.rows, row_step), k.tile_pixels);
  PackedRows a{0, 0, 0, product.depth, floats(height * product.depth)};
  for (std::int64_t row = 0; row < product.rows; row += row_step) {
    a.first_row = row;
    a.rows = std::min(row_step, product.rows - row);
    pack_rows(k, product.a, a);
    update(k, a, product, rates, weight, velocity);
  }
}

}  // namespace goturn::cpu
