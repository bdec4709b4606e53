// Switches between stacks: a few instructions on x86-64, ucontext elsewhere.  swapcontext() sets
// the signal mask by a system call at each switch, which is some fifty times slower.
#include "emulation/fibre.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <new>

#if defined(__x86_64__) && !defined(GOTURN_EMULATION_UCONTEXT)
#define GOTURN_SWITCH_X86_64 1
#else
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define GOTURN_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GOTURN_ASAN 1
#endif
#endif
#ifdef GOTURN_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#ifdef GOTURN_SWITCH_X86_64
// Saves what the System V ABI has a called function keep, and the stack pointer; loads the other's.
extern "C" void goturn_switch_stack(void** save, void* load) __attribute__((visibility("hidden")));
asm(R"(
  .text
  .p2align 4
  .globl goturn_switch_stack
  .hidden goturn_switch_stack
  .type goturn_switch_stack, @function
goturn_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size goturn_switch_stack, .-goturn_switch_stack
)");
#endif

namespace goturn::emulation {
namespace {

#ifdef GOTURN_ASAN
constexpr std::size_t kStackSize = 256 * 1024;  // its frames are larger
#else
constexpr std::size_t kStackSize = 64 * 1024;
#endif
constexpr std::size_t kColours = 4096;  // bytes in which stacks' tops differ

std::size_t page() {
  static const auto size = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  return size;
}

#ifdef GOTURN_ASAN
// Who was left for the fibre that is being entered.
thread_local Fibre* left = nullptr;
thread_local Fibre* entering = nullptr;
#endif

}  // namespace

Fibre* make_fibre(unsigned colour) {
  const std::size_t bytes = page() + kStackSize + kColours;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  if (mprotect(memory, page(), PROT_NONE) != 0) {
    munmap(memory, bytes);
    throw std::bad_alloc();
  }
  auto* stack = static_cast<unsigned char*>(memory) + page();
  // An odd number of lines of 64 bytes for each.
  return new Fibre{nullptr, stack, kStackSize + colour * 9 * 64 % kColours, nullptr, nullptr, true};
}

void destroy_fibre(Fibre* fibre) {
  if (fibre == nullptr) return;
  if (fibre->owned) {
#ifdef GOTURN_ASAN
    __asan_unpoison_memory_region(fibre->stack, fibre->stack_size);
#endif
    munmap(fibre->stack - page(), page() + kStackSize + kColours);
  }
#ifndef GOTURN_SWITCH_X86_64
  delete static_cast<ucontext_t*>(fibre->context);
#endif
  delete fibre;
}

Fibre* make_main_fibre() { return new Fibre{nullptr, nullptr, 0, nullptr, nullptr, false}; }

void prepare(Fibre* fibre, void (*entry)()) {
#ifdef GOTURN_ASAN
  __asan_unpoison_memory_region(fibre->stack, fibre->stack_size);
  fibre->fake_stack = nullptr;
#endif
#ifdef GOTURN_SWITCH_X86_64
  // As if `entry` had been called from address 0, with the registers that the switch loads below.
  auto* top = reinterpret_cast<void**>(fibre->stack + fibre->stack_size);
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;
  fibre->stack_pointer = top;
#else
  if (fibre->context == nullptr) fibre->context = new ucontext_t;
  auto* context = static_cast<ucontext_t*>(fibre->context);
  getcontext(context);
  context->uc_stack.ss_sp = fibre->stack;
  context->uc_stack.ss_size = fibre->stack_size;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
#endif
}

void entered() {
#ifdef GOTURN_ASAN
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(entering->fake_stack, &bottom, &size);
  if (left != nullptr &&
      left->stack == nullptr) {  // the thread's own stack: now its place is known
    left->stack = static_cast<unsigned char*>(const_cast<void*>(bottom));
    left->stack_size = size;
  }
#endif
}

void switch_fibre(Fibre* from, Fibre* to, [[maybe_unused]] bool forever) {
#ifdef GOTURN_ASAN
  left = from;
  entering = to;
  __sanitizer_start_switch_fiber(forever ? nullptr : &from->fake_stack, to->stack, to->stack_size);
#endif
#ifdef GOTURN_SWITCH_X86_64
  goturn_switch_stack(&from->stack_pointer, to->stack_pointer);
#else
  if (from->context == nullptr) from->context = new ucontext_t;
  swapcontext(static_cast<ucontext_t*>(from->context), static_cast<ucontext_t*>(to->context));
#endif
  entered();
}

}  // namespace goturn::emulation
