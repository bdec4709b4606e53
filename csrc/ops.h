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

}  // namespace goturn::cpu
