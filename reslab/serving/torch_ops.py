"""A graph run by PyTorch itself, without Keras between the operations.

Maps lie channels last in memory, as PyTorch's convolutions on a CPU like them best.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reslab.serving.graph import Graph, Op

Step = Callable[..., Tensor]
STEPS: dict[str, Callable[[Mapping[str, Any]], Step]] = {
    "Add": lambda how: torch.add,
    "Clip": lambda how: torch.clamp,
    "Concat": lambda how: lambda *x: torch.cat(x, how["axis"]),
    "Div": lambda how: torch.div,
    "Flatten": lambda how: lambda x: x.flatten(how["axis"]),
    "Gemm": lambda how: lambda x, kernel, bias=None: functional.linear(x, kernel.t(), bias),
    "GlobalAveragePool": lambda how: lambda x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda how: lambda x: x.amax((2, 3), keepdim=True),
    "Identity": lambda how: lambda x: x,
    "MatMul": lambda how: torch.matmul,
    "Mul": lambda how: torch.mul,
    "Relu": lambda how: torch.relu,
    "Sigmoid": lambda how: torch.sigmoid,
    "Softmax": lambda how: lambda x: torch.softmax(x, how["axis"]),
    "Softplus": lambda how: functional.softplus,
    "Sub": lambda how: torch.sub,
    "Tanh": lambda how: torch.tanh,
    "Transpose": lambda how: lambda x: x.permute(how["perm"]),
}


class Runner:
    """`Runner(graph)(x)` takes a float32 array of images, and gives the outputs by name."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.numbers = {name: self._tensor(value) for name, value in graph.constants.items()}
        self.steps = [_step(op) for op in graph.ops]
        last = {name: i for i, op in enumerate(graph.ops) for name in op.inputs}
        self.done: list[list[str]] = [[] for _ in graph.ops]  # what no later step asks for
        for name, i in last.items():
            if name not in graph.constants and name not in graph.outputs:
                self.done[i].append(name)

    def __call__(self, x: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            seen = dict(self.numbers)
            seen[self.graph.input] = torch.from_numpy(x).to(self.device)
            for op, step, done in zip(self.graph.ops, self.steps, self.done, strict=True):
                seen[op.output] = step(*(seen[name] for name in op.inputs))
                for name in done:
                    del seen[name]
            return {name: seen[name].contiguous().cpu().numpy() for name in self.graph.outputs}

    def _tensor(self, value: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(value).to(self.device)
        return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _step(op: Op) -> Step:
    if op.kind in WINDOWS:
        return WINDOWS[op.kind](op.attributes)
    return STEPS[op.kind](op.attributes)


def _conv(how: Mapping[str, Any]) -> Step:
    reach = [(k - 1) * d + 1 for k, d in zip(how["kernel_shape"], how["dilations"], strict=True)]
    fill = _filler(how, reach)
    pad = [0, 0] if fill else how["pads"][:2]
    stride, dilation, group = how["strides"], how["dilations"], how["group"]

    def run(x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
        x = fill(x, 0.0) if fill else x
        return functional.conv2d(x, kernel, bias, stride, pad, dilation, group)

    return run


def _max_pool(how: Mapping[str, Any]) -> Step:
    size, fill = how["kernel_shape"], _filler(how, how["kernel_shape"], half=True)
    pad = [0, 0] if fill else how["pads"][:2]

    def run(x: Tensor) -> Tensor:
        x = fill(x, -torch.inf) if fill else x
        return functional.max_pool2d(x, size, how["strides"], pad)

    return run


def _avg_pool(how: Mapping[str, Any]) -> Step:
    size, fill = how["kernel_shape"], _filler(how, how["kernel_shape"], half=True)
    pad = [0, 0] if fill else how["pads"][:2]
    counts = bool(how["count_include_pad"])

    def pool(x: Tensor) -> Tensor:
        return functional.avg_pool2d(x, size, how["strides"], pad, count_include_pad=counts)

    def run(x: Tensor) -> Tensor:
        if fill is None:
            return pool(x)
        if counts:
            return pool(fill(x, 0.0))
        there = fill(torch.ones_like(x[:1, :1]), 0.0)
        return pool(fill(x, 0.0)) / pool(there)

    return run


def _filler(how: Mapping[str, Any], reach: Sequence[int], half: bool = False) -> Step | None:
    """Pads where PyTorch's own padding cannot: lopsided, wide, or of a size not yet known."""
    if "auto_pad" in how:

        def same(x: Tensor, number: float) -> Tensor:
            pads = []
            for n, size, stride in zip(x.shape[2:], reach, how["strides"], strict=True):
                total = max((-(-n // stride) - 1) * stride + size - n, 0)
                pads.append((total // 2, total - total // 2))
            return functional.pad(x, (*pads[1], *pads[0]), value=number)

        return same
    top, left, bottom, right = how["pads"]
    wide = half and any(2 * p > size for p, size in zip((top, left), reach, strict=True))
    if (top, left) == (bottom, right) and not wide:
        return None
    return lambda x, number: functional.pad(x, (left, right, top, bottom), value=number)


def _pad(how: Mapping[str, Any]) -> Step:
    def run(x: Tensor, pads: Tensor) -> Tensor:
        both = pads.tolist()
        sides = zip(both[: x.ndim], both[x.ndim :], strict=True)
        return functional.pad(x, [n for side in reversed(list(sides)) for n in side])

    return run


def _norm(how: Mapping[str, Any]) -> Step:
    def run(x: Tensor, a: Tensor, b: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return functional.batch_norm(x, mean, variance, a, b, eps=how["epsilon"])

    return run


def _response_norm(how: Mapping[str, Any]) -> Step:
    def run(x: Tensor) -> Tensor:
        return functional.local_response_norm(
            x, how["size"], how["alpha"], how["beta"], how["bias"]
        )

    return run


def _reshape(how: Mapping[str, Any]) -> Step:
    return lambda x, shape: x.reshape(len(x), *shape.tolist()[1:])


WINDOWS: dict[str, Callable[[Mapping[str, Any]], Step]] = {
    "AveragePool": _avg_pool,
    "BatchNormalization": _norm,
    "Conv": _conv,
    "LRN": _response_norm,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Reshape": _reshape,
}
