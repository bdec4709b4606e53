"""For pytest under compute-sanitizer (``-p cupy_without_pool``): a CuPy array is allocated by itself."""

import cupy

cupy.cuda.set_allocator(None)
