// How the emulation runs; for tests.  Changes count from the next launch on.
#pragma once

namespace goturn::emulation {

struct Settings {
  // Follow every access to shared memory (GOTURN_EMULATION_CHECKS=0: not).
  bool checks = true;
  // The order of blocks, which warp of a block is first, and whether the lanes of a warp run
  // upwards or, where even, downwards (GOTURN_EMULATION_SEED); 0: blocks as numbered.
  unsigned seed = 1;
  // What compute_capability() says (GOTURN_EMULATION_CAPABILITY).
  int capability = 90;
  // Tensor cores add as real ones do, cutting off what is below the largest summand, and not
  // rounding to nearest as floats do (GOTURN_EMULATION_TRUNCATE=1).  Takes longer.
  bool truncate = false;
};

// Of the process; first read from the environment.
Settings settings();
void set_settings(const Settings& settings);

}  // namespace goturn::emulation
