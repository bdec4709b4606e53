// Convolutions of 3 x 3 and 5 x 5 with stride 1 by Winograd's F(4 x 4, 3 x 3) and F(4 x 4, 5 x 5).
#pragma once

#include <cstdint>
#include <memory>

#include "cpu/conv2d_packed.h"

namespace goturn::cpu {

class WinogradConv {
 public:
  // Whether a convolution with this output is one of this kind, and takes fewer products by it: as
  // it is if its stride is 1, otherwise once phases.h has made it so.
  static bool takes(const Image& out, std::int64_t kernel, std::int64_t stride);

  // As PackedConv, of a kernel of `kernel` x `kernel` and stride 1.  `int16`: what is multiplied
  // are whole numbers of 16 bits; else floats.  Transforms are in single precision in any case.
  static std::unique_ptr<WinogradConv> make(const Image& in, const Image& out, std::int64_t kernel,
                                            std::int64_t groups, const FilterLayout& filters,
                                            const float* bias, bool int16);

  // Bytes of scratch memory that run needs for `images` images.
  virtual std::int64_t scratch_bytes(std::int64_t images) const = 0;

  // As PackedConv::run.  `scratch` is any memory of scratch_bytes(images), aligned for any vector.
  virtual void run(const float* input, float* output, std::int64_t images, bool relu,
                   void* scratch) const = 0;

  WinogradConv(const WinogradConv&) = delete;
  WinogradConv& operator=(const WinogradConv&) = delete;
  virtual ~WinogradConv() = default;

 protected:
  WinogradConv() = default;
};

}  // namespace goturn::cpu
