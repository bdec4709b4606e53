"""The GPU under the benchmarks: goturn's kernels and PyTorch's on one stream, their graphs and clocks."""

from __future__ import annotations

import contextlib
import importlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from goturn.network import Network
from goturn.ops.cuda import CudaOps
from goturn.weights import Weights

Launch = Callable[[], None]

#: torch's name of each precision's numbers.
_TORCH_TYPES = {"fp32": "float32", "tf32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class Replay:
    """Launches a graph; holds the function that was captured, and so the arrays that the graph uses."""

    def __init__(self, launch: Launch, function: Launch) -> None:
        self._launch, self._function = launch, function

    def __call__(self) -> None:
        self._launch()


class Device:
    """One GPU by CuPy, and PyTorch on it where it is installed.

    Everything is enqueued on one stream, which is also the current one of both libraries.
    """

    def __init__(self) -> None:
        import cupy

        from goturn import _cuda
        from goturn.ops.cuda_memory import CupyMemory
        from goturn.ops.devices import check_cuda

        check_cuda(0)
        self._cupy = cupy
        cupy.cuda.Device(0).use()
        self.kernels: Any = _cuda
        self.memory: Any = CupyMemory(0)
        self.stream: Any = cupy.cuda.Stream(non_blocking=True)
        self.stream.use()
        self._events = [cupy.cuda.Event() for _ in range(2)]
        self.torch: Any = import_torch()
        self.torch_device = "cuda:0"
        if self.torch is not None:
            self._outside = self.torch.cuda.ExternalStream(self.stream.ptr)
            self.torch.cuda.set_stream(self._outside)

    # -- goturn ----------------------------------------------------------------------------------

    def ops(self, products: str | None = None) -> CudaOps:
        """The backend, with float32 products formed as ``products`` says."""
        return CudaOps(self.kernels, self.memory, products)

    def network(
        self, weights: Weights, precision: str = "fp32", products: str | None = None
    ) -> Network:
        """A network on this device."""
        return Network(weights, self.ops(products), precision=precision)

    @property
    def pointer(self) -> int:
        """The stream as kernels are given it."""
        pointer: int = self.memory.pointer_of(self.stream)
        return pointer

    def capture(self, function: Launch) -> Launch:
        """What launches all that ``function`` enqueues on the stream, as one graph."""
        function()  # modules are loaded, and attributes set, outside of a capture
        self.synchronize()
        graph = self.memory.capture(function, self.stream)
        return Replay(graph.launch, function)

    # -- PyTorch ---------------------------------------------------------------------------------

    def tensor(self, array: np.ndarray, precision: str = "fp32") -> Any:
        """A copy of a NumPy array as a tensor on the GPU; floats in ``precision``."""
        tensor = self.torch.from_numpy(np.array(array, order="C")).to(self.torch_device)
        if tensor.is_floating_point():
            tensor = tensor.to(getattr(self.torch, _TORCH_TYPES[precision]))
        return tensor

    def torch_capture(self, function: Launch) -> Launch:
        """As :meth:`capture`, by PyTorch."""
        for _ in range(3):  # cuDNN chooses its algorithms, cuBLAS its workspaces
            function()
        self.synchronize()
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph, capture_error_mode="thread_local"):
            function()
        return Replay(graph.replay, function)

    def settings(self, *, conv_tf32: bool, matmul_tf32: bool) -> None:
        """PyTorch's: whether float32 products may be TF32, and cuDNN measures its algorithms."""
        if self.torch is None:
            return
        backends = self.torch.backends
        backends.cudnn.benchmark = True
        backends.cudnn.allow_tf32 = conv_tf32
        backends.cuda.matmul.allow_tf32 = matmul_tf32

    # -- clocks ----------------------------------------------------------------------------------

    def synchronize(self) -> None:
        self.memory.synchronize(self.stream)

    def wait_all(self) -> None:
        """Until the GPU has nothing to do on any stream."""
        self._cupy.cuda.runtime.deviceSynchronize()

    def device_us(self, launch: Launch) -> float:
        """Microseconds from the first to the last of what ``launch`` enqueues, by events."""
        begin, end = self._events
        begin.record(self.stream)
        launch()
        end.record(self.stream)
        end.synchronize()
        return 1e3 * float(self._cupy.cuda.get_elapsed_time(begin, end))

    def host_us(self, call: Launch) -> float:
        """Microseconds of ``call`` as its caller sees them, the GPU idle before."""
        self.wait_all()
        start = time.perf_counter_ns()
        call()
        return (time.perf_counter_ns() - start) / 1e3

    # -- memory ----------------------------------------------------------------------------------

    def used_bytes(self) -> int:
        """Of the GPU's memory, by everyone on it."""
        free, total = self._cupy.cuda.runtime.memGetInfo()
        return int(total - free)

    def release(self) -> None:
        """Gives back what both libraries' pools hold."""
        with contextlib.suppress(Exception):
            self._cupy.get_default_memory_pool().free_all_blocks()
        if self.torch is not None:
            with contextlib.suppress(Exception):
                self.torch.cuda.empty_cache()

    def versions(self) -> dict[str, Any]:
        """Of what is measured."""
        runtime = self._cupy.cuda.runtime
        found = {
            "driver_cuda": _dotted(runtime.driverGetVersion()),
            "goturn_cuda": ".".join(map(str, self.kernels.cuda_version)),
            "architectures": list(self.kernels.architectures),
            "cupy": self._cupy.__version__,
            "cupy_cuda": _dotted(runtime.runtimeGetVersion()),
            "numpy": np.__version__,
        }
        if self.torch is not None:
            found["torch"] = str(self.torch.__version__)
            found["torch_cuda"] = str(self.torch.version.cuda)
            found["cudnn"] = self.torch.backends.cudnn.version()
        return found


def import_torch() -> Any:
    """PyTorch where it is there and sees the GPU; else None, and only our rows are measured."""
    try:
        torch = importlib.import_module("torch")
        if not torch.cuda.is_available():
            return None
        torch.zeros(1, device="cuda")
    except Exception:  # whatever a broken installation raises
        return None
    return torch


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
