// Fibres: stacks of their own within one thread of the operating system, switched by hand.
#pragma once

#include <cstddef>

namespace goturn::emulation {

struct Fibre {
  void* stack_pointer;     // where it is suspended
  unsigned char* stack;    // the lowest byte that may be used
  std::size_t stack_size;  // up to here
  void* fake_stack;        // AddressSanitizer's
  void* context;           // ucontext_t, where there is no switch in assembly
  bool owned;              // not the operating system's stack
};

// A stack with a page below it that ends the process when touched.  `colour` moves the top of
// stacks against each other, which would else all fall into the same sets of the cache.
Fibre* make_fibre(unsigned colour);
void destroy_fibre(Fibre* fibre);

// The stack that the operating system gave this thread, as a fibre.
Fibre* make_main_fibre();

// Prepares `fibre` to begin with `entry`, which must never return, when first switched to.  What
// was on its stack is forgotten.
void prepare(Fibre* fibre, void (*entry)());

// Suspends `from`, which runs, and continues `to`.  `forever`: `from` is not continued again.
void switch_fibre(Fibre* from, Fibre* to, bool forever = false);

// To be called first in each `entry`.
void entered();

}  // namespace goturn::emulation
