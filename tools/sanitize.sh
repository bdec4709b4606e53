#!/bin/sh
# Runs the tests of the native code with the address and undefined-behaviour sanitizers, or with the
# thread sanitizer.
#
#   tools/sanitize.sh [--thread] [pytest arguments]
#
# Builds goturn._cpu with g++ in a temporary folder, and leaves the checkout as it is.  Exits non-zero
# where a sanitizer finds something or a test fails.  PYTHON names the interpreter (default python3); it
# needs what the tests need, and pybind11.  The CUDA kernels have tools/emulate.sh --sanitize.
set -eu
. "$(dirname -- "$0")/native.sh"

if [ "${1:-}" = --thread ]; then
  shift
  build_thread_sanitized_modules
  if [ $# -eq 0 ]; then
    # It does not follow threads that a forked child starts.
    set -- tests/test_cpu_engine.py tests/test_threads.py tests/test_cpu_ops.py \
      -m "not slow" -k "not fork"
  fi
else
  build_sanitized_modules
  if [ $# -eq 0 ]; then set -- $native_tests; fi
fi
run_tests "$@"
