"""The network in PyTorch, as fast as its operations make it: what ours is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from goturn.architecture import LRN, Architecture, Conv, MaxPool
from gpu.device import Device


def lrn_builtin(torch: Any, x: Any, layer: LRN) -> Any:
    """PyTorch's own; in float32, since squares overflow half precision."""
    functional = torch.nn.functional
    y = functional.local_response_norm(x.float(), layer.size, layer.alpha, layer.beta, layer.k)
    return y.to(x.dtype)


def lrn_slices(torch: Any, x: Any, layer: LRN) -> Any:
    """The same as sums of shifted channels, which torch.compile makes one kernel of."""
    values = x.float()
    half, channels = layer.size // 2, x.shape[1]
    squares = torch.nn.functional.pad(values * values, (0, 0, 0, 0, half, layer.size - 1 - half))
    total = squares[:, :channels]
    for shift in range(1, layer.size):
        total = total + squares[:, shift : shift + channels]
    scale = torch.rsqrt(layer.k + (layer.alpha / layer.size) * total)
    # beta is 3/4: s^-3/4 = s^-1/2 * (s^-1/2)^1/2, without a pow
    power = scale * scale.sqrt() if layer.beta == 0.75 else scale ** (2 * layer.beta)
    return (values * power).to(x.dtype)


class TorchNetwork:
    """GOTURN with shared towers; inference, and training of the fc layers.

    Args:
        device: where.
        architecture: of the network.
        parameters: in host memory.
        precision: of numbers: "fp32", "tf32", "bf16" or "fp16".
        channels_last: the memory format of images and convolutions' weights.
        fused: cuDNN's convolution with bias and ReLU in one call.
        lrn: "builtin" or "slices".
    """

    def __init__(
        self,
        device: Device,
        architecture: Architecture,
        parameters: Mapping[str, np.ndarray],
        precision: str,
        *,
        channels_last: bool = True,
        fused: bool = False,
        lrn: str = "slices",
    ) -> None:
        torch = device.torch
        self._torch, self._architecture = torch, architecture
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._fused = fused
        self._lrn = {"builtin": lrn_builtin, "slices": lrn_slices}[lrn]
        self.parameters = {
            name: device.tensor(value, precision) for name, value in parameters.items()
        }
        for layer in architecture.convs:
            name = f"{layer.name}/weight"
            self.parameters[name] = self.parameters[name].contiguous(memory_format=self._format)
        self._dtype = self.parameters[name].dtype

    def images(self, crops: Any) -> Any:
        """Crops (N, 3, S, S) in this network's type and memory format."""
        return crops.to(self._dtype).contiguous(memory_format=self._format)

    def tower(self, crops: Any) -> Any:
        """Crops (N, 3, S, S) -> features (N, C * H * W) in (C, H, W) order."""
        torch, x = self._torch, self.images(crops)
        for layer in self._architecture.tower:
            if isinstance(layer, Conv):
                x = self._conv(layer, x)
            elif isinstance(layer, MaxPool):
                x = torch.nn.functional.max_pool2d(x, layer.kernel, layer.stride, ceil_mode=True)
            else:
                x = self._lrn(torch, x, layer)
        return x.flatten(1)

    def _conv(self, layer: Conv, x: Any) -> Any:
        torch = self._torch
        weight = self.parameters[f"{layer.name}/weight"]
        bias = self.parameters[f"{layer.name}/bias"]
        if self._fused:
            return torch.cudnn_convolution_relu(
                x, weight, bias, [layer.stride] * 2, [layer.pad] * 2, [1, 1], layer.groups
            )
        functional = torch.nn.functional
        y = functional.conv2d(x, weight, bias, layer.stride, layer.pad, groups=layer.groups)
        return functional.relu(y, inplace=True)

    def head(self, both: Any, *, dropout: bool = False) -> Any:
        """(N, 2 F) -> (N, 4)."""
        functional, x = self._torch.nn.functional, both
        for layer in self._architecture.head:
            name = layer.name
            x = functional.linear(x, self.parameters[f"{name}/weight"], self._bias(name))
            if layer.relu:
                x = functional.relu(x)
            if dropout and layer.dropout > 0:
                x = functional.dropout(x, layer.dropout, training=True)
        return x

    def _bias(self, name: str) -> Any:
        return self.parameters[f"{name}/bias"]

    def forward(self, targets: Any, searches: Any) -> Any:
        """Crops of targets and of search windows -> (N, 4); both go through the towers together."""
        count = len(targets)
        features = self.tower(self._torch.cat((targets, searches)))
        return self.head(self._torch.cat((features[:count], features[count:]), dim=1))

    # -- in two parts, as a tracker may do it ----------------------------------------------------

    def project(self, features: Any) -> Any:
        """Target features -> their half of the first fc layer."""
        first = self._architecture.head[0].name
        weight = self.parameters[f"{first}/weight"][:, : features.shape[1]]
        return self._torch.nn.functional.linear(features, weight, self._bias(first))

    def regress(self, part: Any, features: Any) -> Any:
        """The search's features and the target's part -> (N, 4)."""
        functional = self._torch.nn.functional
        first, *rest = self._architecture.head
        weight = self.parameters[f"{first.name}/weight"][:, features.shape[1] :]
        x = functional.relu(self._torch.addmm(part, features, weight.t()))
        for layer in rest:
            x = functional.linear(
                x, self.parameters[f"{layer.name}/weight"], self._bias(layer.name)
            )
            if layer.relu:
                x = functional.relu(x)
        return x
