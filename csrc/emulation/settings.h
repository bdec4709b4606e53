// How the emulation runs; for tests.  Changes count from the next launch on.
#pragma once

namespace goturn::emulation {

struct Settings {
  bool checks = true;  // follow every access to shared memory (GOTURN_EMULATION_CHECKS=0: not)
  // The order in which blocks run and in which warps first do (GOTURN_EMULATION_SEED); 0:
  // ascending.
  unsigned seed = 1;
  int capability = 90;  // what compute_capability() says (GOTURN_EMULATION_CAPABILITY)
};

// Of the process; first read from the environment.
Settings settings();
void set_settings(const Settings& settings);

}  // namespace goturn::emulation
