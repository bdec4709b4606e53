#!/bin/sh
# Runs the tests of the CUDA kernels without a GPU, on their emulation (csrc/emulation).
#
#   tools/emulate.sh [--sanitize [--cpu]] [pytest arguments]
#
# Builds goturn._cuda_emulated, and goturn._cpu, in a temporary folder, with --sanitize by g++ with the
# address and undefined-behaviour sanitizers, and leaves the checkout as it is.  With --cpu the tests of
# tools/sanitize.sh run first, on the same build.  Exits non-zero where something is found or a test
# fails.  PYTHON names the interpreter (default python3); it needs what the tests need, and pybind11; a
# CUDA toolkit is not needed.
set -eu
. "$(dirname -- "$0")/native.sh"

if [ "${1:-}" = --sanitize ]; then
  shift
  build_sanitized_modules -DGOTURN_EMULATE_CUDA=ON
  if [ "${1:-}" = --cpu ]; then
    shift
    run_tests $native_tests -k "not emulat"
  fi
else
  build_modules -DGOTURN_EMULATE_CUDA=ON
fi
if [ $# -eq 0 ]; then
  set -- tests -m "not slow" -k "emulat or cuda_bindings"
fi
run_tests "$@"
