"""Inference libraries on the network alone: two crops in, four numbers out, no crop or box work.

That favours them: our rows do the whole ``Tracker.update``.  The network comes as ``.npz`` (its
tensors) and as the architecture's JSON, and is rebuilt here for each library.  Like ``peers.py`` this
runs under another interpreter, which has the library but not goturn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def torch_tower(torch: Any, layers: list[dict[str, Any]], weights: dict[str, Any], x: Any) -> Any:
    """Crops (n, 3, S, S) through a tower by PyTorch, channels last: features (n, C * H * W)."""
    functional = torch.nn.functional
    x = x.contiguous(memory_format=torch.channels_last)
    for layer in layers:
        if layer["kind"] == "conv":
            x = functional.conv2d(
                x,
                weights[f"{layer['name']}/weight"],
                weights[f"{layer['name']}/bias"],
                layer["stride"],
                layer["pad"],
                groups=layer["groups"],
            ).relu_()
        elif layer["kind"] == "max_pool":
            x = functional.max_pool2d(x, layer["kernel"], layer["stride"], ceil_mode=True)
        else:
            x = functional.local_response_norm(
                x, layer["size"], layer["alpha"], layer["beta"], layer["k"]
            )
    return x.flatten(1)


class _Network:
    """The description, and inputs of the right shape.

    Args:
        tensors: ``.npz`` with "conv1/weight" ..., float32.
        architecture: what ``Architecture.to_json`` gives.
        threads: for the library.
    """

    def __init__(self, tensors: str, architecture: str, threads: int) -> None:
        import numpy as np

        self._file = Path(tensors)
        self._description: dict[str, Any] = json.loads(architecture)
        self._threads = threads
        side = self._description["preprocessing"]["input_size"]
        random = np.random.default_rng(0)
        self._crops = [
            random.integers(-120, 130, (1, 3, side, side)).astype(np.float32) for _ in range(2)
        ]
        self._units: Any = None

    def _tensors(self) -> dict[str, Any]:
        import numpy as np

        with np.load(self._file) as file:
            return {name: file[name] for name in file.files}

    def check(self) -> None:
        """Raises RuntimeError if the answer is not the one that the weights were made to give."""
        if self._units is None or any(
            abs(value - near) > 0.1
            for value, near in zip(self._units, (2.5, 2.5, 7.5, 7.5), strict=True)
        ):
            raise RuntimeError(
                f"the network's answer {self._units} is not the middle of the window"
            )


def write_onnx(network: _Network, path: Path) -> None:
    """The network as ONNX, with ONNX's own LRN."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tensors, description = network._tensors(), network._description
    side = description["preprocessing"]["input_size"]
    nodes = []
    ends = []
    for tower in ("target", "search"):
        x = tower
        for layer in description["tower"]:
            y = f"{tower}_{layer['name']}"
            if layer["kind"] == "conv":
                kernel, stride, pad = ([layer[key]] for key in ("kernel", "stride", "pad"))
                nodes.append(
                    helper.make_node(
                        "Conv",
                        [x, f"{layer['name']}/weight", f"{layer['name']}/bias"],
                        [f"{y}_sum"],
                        kernel_shape=kernel * 2,
                        strides=stride * 2,
                        pads=pad * 4,
                        group=layer["groups"],
                    )
                )
                nodes.append(helper.make_node("Relu", [f"{y}_sum"], [y]))
            elif layer["kind"] == "max_pool":
                kernel, stride = [layer["kernel"]] * 2, [layer["stride"]] * 2
                nodes.append(
                    helper.make_node(
                        "MaxPool", [x], [y], kernel_shape=kernel, strides=stride, ceil_mode=1
                    )
                )
            else:
                nodes.append(
                    helper.make_node(
                        "LRN",
                        [x],
                        [y],
                        size=layer["size"],
                        alpha=layer["alpha"],
                        beta=layer["beta"],
                        bias=layer["k"],
                    )
                )
            x = y
        ends.append(x)
    nodes.append(helper.make_node("Concat", ends, ["both"], axis=1))
    nodes.append(helper.make_node("Flatten", ["both"], ["features"]))
    x = "features"
    for layer in description["head"]:
        name = layer["name"]
        inputs = [x, f"{name}/weight", f"{name}/bias"]
        nodes.append(helper.make_node("Gemm", inputs, [f"{name}_sum"], transB=1))
        x = f"{name}_sum"
        if layer["relu"]:
            nodes.append(helper.make_node("Relu", [x], [name]))
            x = name
    shape = [1, 3, side, side]
    graph = helper.make_graph(
        nodes,
        "goturn",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("target", "search")],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


class OnnxRuntime(_Network):
    """onnxruntime on the CPU, fp32."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        import onnxruntime

        self._onnxruntime: Any = onnxruntime
        self._model = self._file.with_suffix(".onnx")
        if not self._model.exists():
            write_onnx(self, self._model)

    def load(self) -> None:
        settings = self._onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self._threads
        settings.inter_op_num_threads = 1
        self._session = self._onnxruntime.InferenceSession(
            str(self._model), settings, providers=["CPUExecutionProvider"]
        )

    def step(self) -> None:
        inputs = dict(zip(("target", "search"), self._crops, strict=True))
        self._units = self._session.run(None, inputs)[0][0].tolist()


class OpenVINO(_Network):
    """OpenVINO on the CPU, in ``fp32`` or the precision it chooses, which is bfloat16 where the processor
    multiplies it; ``int8``: fc weights compressed by nncf.
    """

    def __init__(self, int8: bool = False, fp32: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self._fp32 = fp32
        import openvino

        self._openvino: Any = openvino
        source = self._file.with_suffix(".onnx")
        if not source.exists():
            write_onnx(self, source)
        self._model = source.with_name(source.stem + ("-int8.xml" if int8 else "-fp32.xml"))
        if not self._model.exists():
            model = openvino.convert_model(str(source))
            if int8:
                import nncf

                model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
            openvino.save_model(model, str(self._model), compress_to_fp16=False)

    def load(self) -> None:
        core = self._openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": self._threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if self._fp32:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        self._compiled = core.compile_model(str(self._model), "CPU", settings)

    def step(self) -> None:
        inputs = dict(zip(("target", "search"), self._crops, strict=True))
        self._units = next(iter(self._compiled(inputs).values()))[0].tolist()


class Torch(_Network):
    """PyTorch eager on the CPU, fp32, channels last."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        import torch

        self._torch: Any = torch
        torch.set_num_threads(self._threads)

    def load(self) -> None:
        torch = self._torch
        self._weights = {name: torch.from_numpy(value) for name, value in self._tensors().items()}
        for name, value in self._weights.items():
            if value.ndim == 4:
                self._weights[name] = value.contiguous(memory_format=torch.channels_last)

    def step(self) -> None:
        torch, functional = self._torch, self._torch.nn.functional
        with torch.inference_mode():
            x = torch.cat([torch.from_numpy(crop) for crop in self._crops])
            features = torch_tower(torch, self._description["tower"], self._weights, x)
            x = features.reshape(1, -1)  # the target's features, then the search's
            for layer in self._description["head"]:
                name = layer["name"]
                x = functional.linear(
                    x, self._weights[f"{name}/weight"], self._weights[f"{name}/bias"]
                )
                x = x.relu_() if layer["relu"] else x
            self._units = x[0].tolist()
