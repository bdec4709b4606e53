// The operations on the GPU, each declared once.
//
// As csrc/ops.h has them for the CPU, with device pointers and a stream last, on which a call
// returns at once: nothing here waits, allocates or copies to the host, so that every call can be
// captured into a CUDA graph.  What a replay must be able to change (dropout's key, the rates, the
// windows) is therefore in device memory.  Structs are validated by the caller (shapes.h).
//
// Layouts.  Images are NHWC, weights of convolutions KRSC (K outputs, R x S kernel, C / groups):
// channels are contiguous, so that threads load 16 bytes at once.  nchw_to_nhwc() and back convert;
// it serves weights too (KCRS to KRSC).
//
// Workspaces.  An operation with `workspace` needs ..._workspace(...) bytes there, 256-byte
// aligned, of any content, which it changes and nothing else may use until it is done.  Where an
// operation says so, the counters it keeps in `counters` (kCounters int32, zeroed once at
// allocation) are zero again when it is done.
#pragma once

#include <cstddef>
#include <cstdint>

#include "shapes.h"

namespace goturn::cuda {

using Stream = void*;  // cudaStream_t

// How numbers are stored.
enum class Type : int { f32 = 0, f16 = 1, bf16 = 2, i8 = 3 };

// How products are formed; sums are always in float.
enum class Products : int {
  scalar = 0,  // float multiply-add on CUDA cores; any Type
  tf32 = 1,    // tensor cores, 10 bits of fraction; Type::f32
  tf32x3 = 2,  // three of those for nearly all bits of a float; Type::f32
  half = 3,    // tensor cores; Type::f16 and Type::bf16
};

inline constexpr int kCounters = 4096;

inline std::size_t size_of(Type type) { return type == Type::f32 ? 4 : type == Type::i8 ? 1 : 2; }

// 10 * major + minor of the current device's compute capability.  Tensor-core products need 80.
int compute_capability();

// -- layouts --------------------------------------------------------------------------------------

// x (batch, channels, pixels) float to y (batch, pixels, channels padded with zeros to
// `padded_channels`) of `type`.
void nchw_to_nhwc(std::int64_t batch, std::int64_t channels, std::int64_t pixels,
                  std::int64_t padded_channels, const float* x, Type type, void* y, Stream stream);

// x (batch, pixels, channels) of `type` to y (batch, channels, pixels) float.
void nhwc_to_nchw(std::int64_t batch, std::int64_t channels, std::int64_t pixels, Type type,
                  const void* x, float* y, Stream stream);

// Rows of `columns` floats: from rows x_stride apart to rows y_stride apart, times `factor`.
void copy_rows(std::int64_t rows, std::int64_t columns, const float* x, std::int64_t x_stride,
               float factor, float* y, std::int64_t y_stride, Stream stream);

// Row index[i] of x to row i of y: `rows` rows of `columns` floats, those of x together, those of y
// y_stride apart.  `index` (rows) is in device memory, each of it a row of x.
void gather_rows(std::int64_t rows, std::int64_t columns, const std::int32_t* index, const float* x,
                 float* y, std::int64_t y_stride, Stream stream);

// The reverse: row g of y (groups, columns) is the sum of the rows i of x with index[i] = g, in
// order; rows of x are x_stride apart.
void sum_rows(std::int64_t rows, std::int64_t groups, std::int64_t columns,
              const std::int32_t* index, const float* x, std::int64_t x_stride, float* y,
              Stream stream);

// y += x, `count` floats.
void add(std::int64_t count, const float* x, float* y, Stream stream);

// -- convolution (NHWC, KRSC); arrays are aligned to 16 bytes -------------------------------------

// Cross-correlation plus bias, then ReLU where asked for.  x, weight, y of `type`; bias float.
std::size_t conv2d_workspace(const ConvShape& shape, Type type, Products products);
void conv2d(const ConvShape& shape, Type type, Products products, const void* x, const void* weight,
            const float* bias, bool relu, void* y, void* workspace, int* counters, Stream stream);

// dx from dy, without ReLU.
std::size_t conv2d_backward_data_workspace(const ConvShape& shape, Type type, Products products);
void conv2d_backward_data(const ConvShape& shape, Type type, Products products, const void* dy,
                          const void* weight, void* dx, void* workspace, int* counters,
                          Stream stream);

// dweight (KRSC) and dbias, both float, from dy and x of `type`.
std::size_t conv2d_backward_weight_workspace(const ConvShape& shape, Type type, Products products);
void conv2d_backward_weight(const ConvShape& shape, Type type, Products products, const void* dy,
                            const void* x, float* dweight, float* dbias, void* workspace,
                            int* counters, Stream stream);

// -- pooling and normalisation (NHWC) -------------------------------------------------------------

// Of pooling's output: as the input, or (N, C, P, Q) in float, which is the order of fc6's columns.
enum class PoolOutput : int { nhwc = 0, nchw_float = 1 };

void max_pool(const PoolShape& shape, Type type, const void* x, PoolOutput output, void* y,
              Stream stream);

// In float.  dy is laid out as `output` says.
void max_pool_backward(const PoolShape& shape, PoolOutput output, const float* dy, const float* x,
                       float* dx, Stream stream);

// shape.pixels counts the pixels of one image.
void lrn(const LrnShape& shape, Type type, const void* x, void* y, Stream stream);
void lrn_backward(const LrnShape& shape, const float* dy, const float* x, float* dx, Stream stream);

// lrn of max_pool's output, which is never stored.  norm.pixels and its batch are not looked at.
void max_pool_lrn(const PoolShape& pool, const LrnShape& norm, Type type, const void* x, void* y,
                  Stream stream);

// -- match ----------------------------------------------------------------------------------------

// Features (batch, channels * cells) in float, rows `stride` apart.
struct MatchInput {
  const float* features;
  std::int64_t stride;
};

// As csrc/ops.h; rows of y are y_stride apart.  columns (2, batch, channels + 1, cells): written.
void match(const MatchShape& shape, const MatchInput& targets, const MatchInput& searches, float* y,
           std::int64_t y_stride, float* columns, Stream stream);
void match_backward(const MatchShape& shape, const float* dy, const MatchInput& targets,
                    const MatchInput& searches, float* d_targets, float* d_searches, float* columns,
                    Stream stream);

// -- linear ---------------------------------------------------------------------------------------

// Inverted dropout of a layer's output, as csrc/ops.h's dropout_mask and dropout.
struct Dropout {
  const std::uint64_t* key;  // one number in device memory
  std::uint64_t threshold;   // floor(ratio * 2^32)
  float kept;                // 1 - ratio
};

// Weights of linear: (outputs, inputs) of `type`, rows shape.weight_stride apart.
struct LinearWeight {
  Type type;
  const void* values;
  const float* scale;  // of each row, for Type::i8; else null
};

// y (batch, outputs) = dropout(relu(x weight^T + bias)) in float, x float.
//
//   bias      (outputs), or (batch, outputs) with bias_stride outputs; null for none
//   products  of batches; a few rows are always multiplied on CUDA cores, at memory's speed.
//             half rounds x to the weight's type (f16: up to 65504).  Of i8 it means tensor cores,
//             but x is split, not rounded: products as exact as floats.  Rows that are short, or
//             not aligned to 16 bytes, are multiplied on CUDA cores, never less exactly.
//   dropout   null for none
std::size_t linear_workspace(const LinearShape& shape, Type type, Products products);
void linear(const LinearShape& shape, const LinearWeight& weight, Products products, const float* x,
            const float* bias, std::int64_t bias_stride, bool relu, const Dropout* dropout,
            float* y, void* workspace, int* counters, Stream stream);

// dx (batch, inputs) = dy weight, float weights.
//
// Where `gate` is not null, it is the layer's input x (batch, inputs), the output of ReLU and
// dropout of the layer before, and dx is carried back through those: dx * gate_factor where x > 0,
// else 0.
std::size_t linear_backward_data_workspace(const LinearShape& shape, Products products);
void linear_backward_data(const LinearShape& shape, Products products, const float* dy,
                          std::int64_t dy_stride, const float* weight, const float* gate,
                          float gate_factor, float* dx, void* workspace, int* counters,
                          Stream stream);

// dweight (outputs, inputs) = dy^T x and dbias (outputs) = column sums of dy; dweight may be null.
void linear_backward_weight(const LinearShape& shape, const float* dy, std::int64_t dy_stride,
                            const float* x, float* dweight, float* dbias, Stream stream);

// sgd_update of weight with the gradient dy^T x, and of bias with the column sums of dy, none of
// which is stored.  The rates are in device memory.  bias and its velocity may be null.
// The velocity lies as the weight does, its rows weight_stride apart.
void linear_sgd_update(const LinearShape& shape, const float* dy, std::int64_t dy_stride,
                       const float* x, const SgdRates* weight_rates, float* weight, float* velocity,
                       const SgdRates* bias_rates, float* bias, float* bias_velocity,
                       Stream stream);

// The nearest number of `to` (f16 or bf16; ties to even) for each float; `count` values.
void convert(std::int64_t count, const float* x, Type to, void* y, Stream stream);

// Rows of weight (outputs, inputs), rows weight_stride apart, as int8 with a scale each; see
// csrc/ops.h.
void to_int8(const LinearShape& shape, const float* weight, std::int8_t* values, float* scale,
             Stream stream);

// -- elementwise, losses, solver ------------------------------------------------------------------

void relu(std::int64_t count, const float* x, float* y, Stream stream);
void relu_backward(std::int64_t count, const float* dy, const float* y, float* dx, Stream stream);
void dropout_mask(std::int64_t count, std::uint64_t threshold, const std::uint64_t* key,
                  std::uint8_t* mask, Stream stream);
void dropout(std::int64_t count, const float* x, const std::uint8_t* mask, float kept, float* y,
             Stream stream);

// The loss goes to `value`, one double in device memory.
void l1_loss(std::int64_t count, const float* prediction, const float* label, float* gradient,
             double* value, Stream stream);
void l2_loss(std::int64_t count, const float* prediction, const float* label, float* gradient,
             double* value, Stream stream);

void sgd_update(std::int64_t count, const SgdRates* rates, const float* gradient, float* weight,
                float* velocity, Stream stream);

void adam_update(std::int64_t count, const AdamRates* rates, const float* gradient, float* weight,
                 float* velocity, float* square, Stream stream);

// -- input ----------------------------------------------------------------------------------------

// How crops are written.
struct CropLayout {
  // 0: (N, 3, size, size) float.  Else space to depth, for a first convolution of this stride:
  // blocks of block x block pixels become channels of an NHWC image of ceil(size / block) pixels a
  // side, channel (row in block * block + column in block) * 3 + plane; zeros beyond the crop and
  // from channel 3 block^2 to `channels`.
  int block = 0;
  int channels = 0;
  Type type = Type::f32;
};

// As csrc/ops.h's crop_resize, bit for bit; `frame` (one struct, whose pixels are in device memory)
// and `windows` (count of them) are in device memory too, so that a replay can change both.
void crop_resize(const Frame* frame, const CropWindow* windows, std::int64_t count,
                 const CropResizeParameters& parameters, const CropLayout& layout, void* crops,
                 Stream stream);

// Crops (count, 3, size, size) in float to `layout`, whose block is not 0.
void space_to_depth(std::int64_t count, std::int64_t size, const float* crops,
                    const CropLayout& layout, void* y, Stream stream);

}  // namespace goturn::cuda
