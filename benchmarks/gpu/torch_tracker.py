"""The tracker in PyTorch, two ways: call after call, and as two CUDA graphs with the target ahead.

Both have goturn's geometry (``goturn.box``), so that they crop the same windows, and sample them with
PyTorch's own operations on the GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from goturn.architecture import Preprocessing
from goturn.box import Box, SearchWindow, restore, search_window, uncenter, unscale
from gpu.device import Device, Launch
from gpu.torch_network import TorchNetwork


def found_box(units: Sequence[float], window: SearchWindow, width: int, height: int) -> Box:
    """The network's answer as a box of the frame."""
    return restore(uncenter(unscale(units, window), window, width, height), width, height)


class EagerTracker:
    """Slice, ``F.interpolate``, network: what one writes first.  Several objects in one batch.

    Args:
        device: where.
        net: the network.
        preprocessing: of the network.
    """

    def __init__(self, device: Device, net: TorchNetwork, preprocessing: Preprocessing) -> None:
        self._device, self._torch, self._net = device, device.torch, net
        self._p = preprocessing
        self._mean = device.tensor(np.array(preprocessing.mean, np.float32)).reshape(1, 3, 1, 1)
        self._targets: Any = None
        self.boxes: list[Box] = []

    def init(self, frame: Any, boxes: Sequence[Sequence[float]]) -> None:
        """Starts on ``boxes`` of a frame, (H, W, 3) uint8 in host memory or a tensor."""
        self.boxes = [Box(*map(float, box)) for box in boxes]
        self._targets = self._crops(self._on_device(frame), self._windows(frame))

    def update(self, frame: Any) -> list[Box]:
        """Finds the objects in the next frame."""
        with self._torch.inference_mode():
            pixels, windows = self._on_device(frame), self._windows(frame)
            units = (
                self._net.forward(self._targets, self._crops(pixels, windows))
                .float()
                .cpu()
                .tolist()
            )
            height, width = frame.shape[:2]
            self.boxes = [
                found_box(values, window, width, height)
                for values, window in zip(units, windows, strict=True)
            ]
            self._targets = self._crops(pixels, self._windows(frame))
        return self.boxes

    def _windows(self, frame: Any) -> list[SearchWindow]:
        height, width = frame.shape[:2]
        factor = self._p.context_factor
        return [search_window(box, width, height, factor) for box in self.boxes]

    def _on_device(self, frame: Any) -> Any:
        if isinstance(frame, np.ndarray):
            return self._torch.from_numpy(frame).to(self._device.torch_device)
        return frame

    def _crops(self, frame: Any, windows: Sequence[SearchWindow]) -> Any:
        functional, size = self._torch.nn.functional, self._p.input_size
        crops = []
        for w in windows:
            part = frame[w.top : w.top + w.rows, w.left : w.left + w.columns]
            part = part.permute(2, 0, 1).unsqueeze(0).float()
            beyond = (w.width - w.columns - w.paste_x, w.height - w.rows - w.paste_y)
            if w.paste_x or w.paste_y or any(beyond):
                part = functional.pad(part, (w.paste_x, beyond[0], w.paste_y, beyond[1]))
            crops.append(functional.interpolate(part, (size, size), mode="bilinear"))
        return self._torch.cat(crops) - self._mean


class GraphTracker:
    """Upload of the rows that are looked at, ``F.grid_sample`` and network in CUDA graphs.

    The target's half of the first fc layer is computed while the caller fetches the next frame.

    Args:
        device: where.
        net: the network.
        preprocessing: of the network.
        shape: of all frames, (H, W, 3).
        count: objects.
    """

    def __init__(
        self,
        device: Device,
        net: TorchNetwork,
        preprocessing: Preprocessing,
        shape: tuple[int, int, int],
        count: int,
    ) -> None:
        torch = device.torch
        self._device, self._torch, self._net = device, torch, net
        self._p, self._shape = preprocessing, shape
        pinned = torch.cuda.is_available()
        self._mean = device.tensor(np.array(preprocessing.mean, np.float32)).reshape(1, 3, 1, 1)
        self._host = torch.zeros(shape, dtype=torch.uint8, pin_memory=pinned)
        self._frame = self._host.to(device.torch_device)
        # One for the search's windows and one for the target's: a copy of either may be under way.
        self._host_thetas = [torch.zeros((count, 2, 3), pin_memory=pinned) for _ in range(2)]
        self._theta = self._host_thetas[0].to(device.torch_device)
        self._units = torch.zeros((count, 4), device=device.torch_device)
        self._host_units = torch.zeros((count, 4), pin_memory=pinned)
        self.boxes: list[Box] = [Box(0.0, 0.0, 8.0, 8.0)] * count
        self._send(np.zeros(shape, np.uint8), self._windows())
        self._device.synchronize()
        with torch.inference_mode():
            self._part = net.project(net.tower(self._crops()))
            self._replay_target = device.torch_capture(self._target)
            self._replay_search = device.torch_capture(self._search)

    def init(self, frame: Any, boxes: Sequence[Sequence[float]]) -> None:
        """Starts on ``boxes`` of a frame."""
        self.boxes = [Box(*map(float, box)) for box in boxes]
        self._device.synchronize()
        self._send(frame, self._windows())
        self._replay_target()

    def update(self, frame: Any) -> list[Box]:
        """Finds the objects in the next frame."""
        windows = self._windows()
        self._send(frame, windows)  # its last upload is done: the last search was waited for
        self._replay_search()
        self._host_units.copy_(self._units, non_blocking=True)
        self._device.synchronize()
        height, width = self._shape[:2]
        self.boxes = [
            found_box(values, window, width, height)
            for values, window in zip(self._host_units.tolist(), windows, strict=True)
        ]
        self._set_theta(self._host_thetas[1], self._windows())
        self._replay_target()
        return self.boxes

    # -- parts -----------------------------------------------------------------------------------

    def _search(self) -> None:
        with self._torch.inference_mode():
            features = self._net.tower(self._crops())
            self._units.copy_(self._net.regress(self._part, features))

    def _target(self) -> None:
        with self._torch.inference_mode():
            self._part.copy_(self._net.project(self._net.tower(self._crops())))

    def _crops(self) -> Any:
        functional, size = self._torch.nn.functional, self._p.input_size
        count = len(self._theta)
        frame = self._frame.permute(2, 0, 1).unsqueeze(0).float()
        grid = functional.affine_grid(self._theta, (count, 3, size, size), align_corners=False)
        # One tall grid: the objects share the frame, which is not repeated.
        crops = functional.grid_sample(
            frame, grid.reshape(1, count * size, size, 2), mode="bilinear", align_corners=False
        )
        crops = crops.reshape(3, count, size, size).transpose(0, 1)
        return crops - self._mean

    def _windows(self) -> list[SearchWindow]:
        height, width = self._shape[:2]
        factor = self._p.context_factor
        return [search_window(box, width, height, factor) for box in self.boxes]

    def _send(self, frame: Any, windows: Sequence[SearchWindow]) -> None:
        """The rows that the windows show, and where they are."""
        top = min(w.top for w in windows)
        bottom = max(w.top + w.rows for w in windows)
        if isinstance(frame, np.ndarray):
            self._host.numpy()[top:bottom] = frame[top:bottom]
            self._frame[top:bottom].copy_(self._host[top:bottom], non_blocking=True)
        else:
            self._frame[top:bottom].copy_(frame[top:bottom])
        self._set_theta(self._host_thetas[0], windows)

    def _set_theta(self, host: Any, windows: Sequence[SearchWindow]) -> None:
        """Each window as the affine map that ``affine_grid`` takes, over frames from -1 to 1."""
        height, width = self._shape[:2]
        theta = host.numpy()
        for row, w in zip(theta, windows, strict=True):
            left, top = w.left - w.paste_x, w.top - w.paste_y
            row[0] = (w.width / width, 0, (2 * left + w.width) / width - 1)
            row[1] = (0, w.height / height, (2 * top + w.height) / height - 1)
        self._theta.copy_(host, non_blocking=True)


def steps(update: Callable[[Any], Any], frames: Sequence[Any], calls: int) -> Launch:
    """``update`` with the next frames, round and round, so many times a call."""
    position = [0]

    def launch() -> None:
        for _ in range(calls):
            update(frames[position[0] % len(frames)])
            position[0] += 1

    return launch
