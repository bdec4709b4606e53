#!/bin/sh
# Runs the tests of the native code with the address and undefined-behaviour sanitizers, or with the
# thread sanitizer.
#
#   tools/sanitize.sh [--thread] [pytest arguments]
#
# Builds goturn._cpu with g++ in a temporary folder, and leaves the checkout as it is.  Exits non-zero
# where a sanitizer finds something or a test fails.  PYTHON names the interpreter (default python3); it
# needs what the tests need, and pybind11.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=$(command -v "${PYTHON:-python3}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

kind=address
if [ "${1:-}" = --thread ]; then
  kind=thread
  shift
fi
case $kind in
  address) sanitizers=address,undefined,float-cast-overflow ;;
  thread) sanitizers=thread ;;
esac
flags="-O1 -g -fno-omit-frame-pointer -fsanitize=$sanitizers"
cmake -S "$root" -B "$work/build" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=g++ \
  -DCMAKE_CXX_FLAGS="$flags -fno-sanitize-recover=all" -DGOTURN_CUDA=OFF -DGOTURN_WERROR=ON \
  -DPython_EXECUTABLE="$python"
cmake --build "$work/build"

mkdir "$work/site"
cp -r "$root/src/goturn" "$work/site/"
rm -f "$work"/site/goturn/*.so
cmake --install "$work/build" --prefix "$work/site"

# CPython itself keeps memory until it exits: no search for leaks.  One allocation by malloc for each
# object, so that a read past its end is seen.  libstdc++ must be there when ASan looks for __cxa_throw.
export PYTHONPATH="$work/site"
export PYTHONDONTWRITEBYTECODE=1
export PYTHONMALLOC=malloc
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16
export UBSAN_OPTIONS=print_stacktrace=1
# A fork from a process with threads is what some tests are about.  NumPy's BLAS has ways to wait for
# its threads that the sanitizer does not see.  On some systems the sanitizer needs memory to be where
# it expects it.
export TSAN_OPTIONS=die_after_fork=0:halt_on_error=1:exitcode=66
if [ $kind = thread ]; then export OPENBLAS_NUM_THREADS=1; fi
case $kind in
  address) libraries="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" ;;
  thread) libraries=$(g++ -print-file-name=libtsan.so) ;;
esac
run=
if [ $kind = thread ] && setarch -R true 2>/dev/null; then run="setarch -R"; fi

cd "$root"
LD_PRELOAD="$libraries" $run "$python" -c "
import sys
from goturn import _cpu
sys.exit(None if _cpu.__file__.startswith('$work/') else 'another goturn is imported: ' + _cpu.__file__)
"
if [ $# -eq 0 ] && [ $kind = thread ]; then
  # It does not follow threads that a forked child starts.
  set -- tests/test_cpu_engine.py tests/test_threads.py tests/test_cpu_ops.py \
    -m "not slow" -k "not fork"
elif [ $# -eq 0 ]; then
  set -- tests/test_crop_resize.py tests/test_native.py tests/test_cpu_engine.py tests/test_cpu_ops.py \
    tests/test_precisions.py::TestFormats tests/test_precisions.py::TestLinear
fi
LD_PRELOAD="$libraries" $run "$python" -m pytest -q --capture=sys -p no:cacheprovider "$@"
