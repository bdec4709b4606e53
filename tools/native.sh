# For sourcing: builds goturn's native modules in a temporary folder, and runs tests with them.  The
# checkout stays as it is.  PYTHON names the interpreter (default python3); it needs what the tests need,
# and pybind11.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
python=$(command -v "${PYTHON:-python3}")
# What is tested of goturn._cpu where memory is watched.
native_tests="tests/test_crop_resize.py tests/test_native.py tests/test_cpu_engine.py tests/test_cpu_ops.py \
  tests/test_winograd.py tests/test_precisions.py::TestFormats tests/test_precisions.py::TestLinear \
  tests/test_precisions.py::TestTower"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# Builds and installs to $work/site; arguments are CMake's.
build_modules() {
  cmake -S "$root" -B "$work/build" -DGOTURN_CUDA=OFF -DGOTURN_WERROR=ON \
    -DPython_EXECUTABLE="$python" "$@"
  cmake --build "$work/build" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-2}"
  mkdir "$work/site"
  cp -r "$root/src/goturn" "$work/site/"
  rm -f "$work"/site/goturn/*.so
  cmake --install "$work/build" --prefix "$work/site"
  # An editable installation of goturn would be imported before what PYTHONPATH names.
  cat >"$work/site/sitecustomize.py" <<'PYTHON'
import sys

sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in type(f).__module__]
PYTHON
  export PYTHONPATH="$work/site" PYTHONDONTWRITEBYTECODE=1
  libraries= launcher=
}

# The same with g++ and the address and undefined-behaviour sanitizers.
build_sanitized_modules() {
  flags="-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined,float-cast-overflow"
  build_modules -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=g++ \
    -DCMAKE_CXX_FLAGS="$flags -fno-sanitize-recover=all" "$@"
  # CPython itself keeps memory until it exits: no search for leaks.  One allocation by malloc for each
  # object, so that a read past its end is seen.  libstdc++ must be there when ASan looks for __cxa_throw.
  export PYTHONMALLOC=malloc
  export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:quarantine_size_mb=16
  export UBSAN_OPTIONS=print_stacktrace=1
  libraries="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)"
}

# The same with g++ and the thread sanitizer.
build_thread_sanitized_modules() {
  build_modules -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_COMPILER=g++ \
    -DCMAKE_CXX_FLAGS="-O1 -g -fno-omit-frame-pointer -fsanitize=thread" "$@"
  # Some tests fork from a process with threads.  NumPy's BLAS has ways to wait for its threads that the
  # sanitizer does not see.  On some systems the sanitizer needs memory to be where it expects it.  glibc
  # frees a finished thread's thread_local memory when it uses its stack again, under a lock of its own that
  # the sanitizer does not see either.
  printf 'race:%s\n' _dl_deallocate_tls get_cached_stack >"$work/suppressions"
  export TSAN_OPTIONS="die_after_fork=0:halt_on_error=1:exitcode=66:suppressions=$work/suppressions"
  export OPENBLAS_NUM_THREADS=1
  libraries=$(g++ -print-file-name=libtsan.so)
  if setarch -R true 2>/dev/null; then launcher="setarch -R"; fi
}

# Runs pytest with what was built; arguments are pytest's.
run_tests() {
  cd "$root"
  LD_PRELOAD="$libraries" $launcher "$python" -c "
import sys
from goturn import _cpu
sys.exit(None if _cpu.__file__.startswith('$work/') else 'another goturn is imported: ' + _cpu.__file__)
"
  LD_PRELOAD="$libraries" $launcher "$python" -m pytest -q --capture=sys -p no:cacheprovider "$@"
}
