// The native operations, each declared once.
//
// An operation takes plain pointers and the structs of shapes.h, already validated.  It allocates
// no result, knows no Python, and writes to its output arguments alone.  On the CPU pointers are to
// host memory and the call returns when the result is there.  goturn::cuda declares the same names
// with the same parameters, device pointers, and a stream last, on which the call returns at once.
//
// To add an operation: its structs and validate() to shapes.h, its declaration here, its definition
// to cpu/<name>.cpp (and cuda/<name>.cu), its binding to python/, its source file to
// CMakeLists.txt, and a NumPy statement of it for the tests to hold it against.
#pragma once

#include "shapes.h"

namespace goturn::cpu {

// Cuts `count` windows out of `frame` and resizes each to size x size, less the mean.
//
// The resize is OpenCV's INTER_LINEAR on 8-bit values, bit for bit (see cpu/crop_resize.cpp).  Uses
// memory in proportion to `size` alone, however large the windows' canvases.
//
//   windows  (count), each validated against `frame`
//   crops    (count, 3, size, size) float32, C-contiguous: written
void crop_resize(const Frame& frame, const CropWindow* windows, std::int64_t count,
                 const CropResizeParameters& parameters, float* crops);

// y = x times weight transposed, plus bias, then ReLU where asked for.
//
//   x            (batch, inputs), rows x_stride apart
//   weight       (outputs, inputs), rows weight_stride apart
//   bias         (outputs), or (batch, outputs) with bias_stride outputs; null for none
//   y            (batch, outputs), C-contiguous: written
void linear(const LinearShape& shape, const float* x, const float* weight, const float* bias,
            std::int64_t bias_stride, bool relu, float* y);

// Weights of linear in fewer bits, (outputs, inputs), C-contiguous: written.  Of `shape` the batch
// does not count.
//
// bf16 is the nearest bfloat16, ties to even, as bits.  int8 is value * scale with one scale for
// each row, the largest absolute weight / 127; the values are rounded to nearest, ties to even.
//   scale  (outputs): written; NaN, and no values, for a row that is not finite
void to_bf16(const LinearShape& shape, const float* weight, std::uint16_t* values);
void to_int8(const LinearShape& shape, const float* weight, std::int8_t* values, float* scale);

// linear with such weights.  All else is in single precision; with int8, each row of x counts as
// whole numbers, the nearest to multiples of the 8191st part of its largest in size (of rows below
// 1e-34, coarser ones).
void linear_bf16(const LinearShape& shape, const float* x, const std::uint16_t* weight,
                 const float* bias, std::int64_t bias_stride, bool relu, float* y);
void linear_int8(const LinearShape& shape, const float* x, const std::int8_t* weight,
                 const float* scale, const float* bias, std::int64_t bias_stride, bool relu,
                 float* y);

// Gradients of linear without ReLU: dx = dy weight, dweight = dy^T x, dbias = column sums of dy.
//
//   dy       (batch, outputs), rows dy_stride apart; x and weight as in linear
//   dx       (batch, inputs): written, or null for none
//   dweight  (outputs, inputs): written, or null for none
//   dbias    (outputs): written
void linear_backward(const LinearShape& shape, const float* dy, std::int64_t dy_stride,
                     const float* x, const float* weight, float* dx, float* dweight, float* dbias);

// sgd_update with the gradient dy^T x of linear, which is never stored.
//
//   weight, velocity  (outputs, inputs), C-contiguous: changed
void linear_sgd_update(const LinearShape& shape, const SgdRates& rates, const float* dy,
                       std::int64_t dy_stride, const float* x, float* weight, float* velocity);

// Cross-correlation plus bias, then ReLU where asked for.
//
//   x (N, C, H, W), weight (K, C / groups, R, S), bias (K)
//   y (N, K, P, Q): written
void conv2d(const ConvShape& shape, const float* x, const float* weight, const float* bias,
            bool relu, float* y);

// Gradients of conv2d without ReLU.
//
//   dy (N, K, P, Q)
//   dx (N, C, H, W): written, or null for none
//   dweight (K, C / groups, R, S), dbias (K): written
void conv2d_backward(const ConvShape& shape, const float* dy, const float* x, const float* weight,
                     float* dx, float* dweight, float* dbias);

// x (N, C, H, W) to y (N, C, P, Q): the maximum of each window, clipped to the image.
void max_pool(const PoolShape& shape, const float* x, float* y);

// dx (N, C, H, W): each window's dy goes to its first maximum in row-major order.
void max_pool_backward(const PoolShape& shape, const float* dy, const float* x, float* dx);

// y = x scale ^ -beta, scale = k + alpha / size * the sum of x^2 over `size` channels about x.
void lrn(const LrnShape& shape, const float* x, float* y);

// dx of lrn.
void lrn_backward(const LrnShape& shape, const float* dy, const float* x, float* dx);

// The correlation of each cell of `targets` (N, C, cells) with each of `searches`, over channels.
//
// A cell's channels, less their mean and over the root of their sum of squares plus kMatchEpsilon,
// are a column; y (N, cells, cells) = scale times the products of the targets' columns (rows of y)
// and the searches'.
void match(const MatchShape& shape, const float* targets, const float* searches, float* y);

// Gradients of match.
//
//   dy (N, cells, cells)
//   d_targets, d_searches (N, C, cells): written
void match_backward(const MatchShape& shape, const float* dy, const float* targets,
                    const float* searches, float* d_targets, float* d_searches);

// y = max(x, 0) of `count` values; a NaN stays one.
void relu(std::int64_t count, const float* x, float* y);

// dx = dy where y > 0, else 0.
void relu_backward(std::int64_t count, const float* dy, const float* y, float* dx);

// mask[i] = 1 where the upper half of SplitMix64's output number i + 1 from `key` is at least
// `threshold`, else 0.
void dropout_mask(std::int64_t count, std::uint64_t threshold, std::uint64_t key,
                  std::uint8_t* mask);

// y = x mask / kept, `kept` being the share that the mask keeps.
void dropout(std::int64_t count, const float* x, const std::uint8_t* mask, float kept, float* y);

// The sum of |prediction - label|; gradient = sign(prediction - label).
double l1_loss(std::int64_t count, const float* prediction, const float* label, float* gradient);

// Half the sum of (prediction - label)^2; gradient = prediction - label.
double l2_loss(std::int64_t count, const float* prediction, const float* label, float* gradient);

// v = momentum v + rate (gradient + decay w); w = w - v, in place.
void sgd_update(std::int64_t count, const SgdRates& rates, const float* gradient, float* weight,
                float* velocity);

// v = momentum v + fresh gradient; s = squares s + fresh_squares gradient^2;
// w = w - step v / (root sqrt(s) + epsilon) - shrink w, in place.
void adam_update(std::int64_t count, const AdamRates& rates, const float* gradient, float* weight,
                 float* velocity, float* square);

}  // namespace goturn::cpu
