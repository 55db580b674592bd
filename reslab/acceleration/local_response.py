"""Local response normalisation as a functional model of stock Keras operations.

Keras has no layer for it. Built of its operations, a saved network opens in plain Keras; recognised
by its graph, the model still runs as one operation on PyTorch and in the inference engines.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import keras
from keras import ops

from reslab.acceleration.graph import call_nodes
from reslab.acceleration.keras_internals import Functional


@dataclass(frozen=True)
class LocalResponse:
    """Local response normalisation across channels (Krizhevsky 2012, Sec. 3.3).

    The output is x / (k + alpha * sum of x^2 over `size` neighbouring channels) ^ beta. Near the
    first and the last channel the sum has fewer terms. `axis` is the axis of the channels: 1 or 3.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0
    axis: int = 3

    def __call__(self, x: Any) -> Any:
        """The normalised maps; shape as the input, (n, h, w, c) or (n, c, h, w)."""
        channels, before = x.shape[self.axis], self.size // 2
        pads = [(0, 0)] * 4
        pads[self.axis] = (before, self.size - 1 - before)
        squares = ops.pad(ops.square(x), pads)
        windows = (
            squares[:, i : i + channels] if self.axis == 1 else squares[..., i : i + channels]
            for i in range(self.size)
        )
        total = reduce(operator.add, windows)
        return x / ops.power(self.k + self.alpha * total, self.beta)

    def model(self, shape: tuple[int | None, ...], name: str) -> keras.Model:
        """A model of stock operations, for maps of this shape (without the batch)."""
        maps = keras.Input(shape, name=f"{name}_maps")
        return keras.Model(maps, self(maps), name=name)


def recognised(layer: Any) -> LocalResponse | None:
    """The normalisation that a functional model computes; None if it computes anything else."""
    if not isinstance(layer, Functional) or type(layer).call is not Functional.call:
        return None
    if len(layer.inputs) != 1 or len(layer.outputs) != 1 or len(layer.inputs[0].shape) != 4:
        return None
    last = {type(node.operation).__name__: node for node in call_nodes(layer)}
    if last.keys() != _KINDS:
        return None
    pads = [sum(pair) for pair in last["Pad"].operation.pad_width]
    operands = [last[kind].arguments.args for kind in ("Multiply", "Add", "Power")]
    if len(pads) != 4 or any(len(pair) != 2 for pair in operands):
        return None  # such as one pad for all axes
    axis, shape = 1 if pads[1] else 3, layer.inputs[0].shape
    (alpha, _), (k, _), (_, beta) = operands
    if shape[axis] is None or not all(isinstance(x, int | float) for x in (alpha, k, beta)):
        return None
    norm = LocalResponse(1 + pads[axis], alpha, beta, k, axis)
    return norm if _calls(layer) == _calls(norm.model(shape[1:], "expected")) else None


_KINDS = {"Square", "Pad", "GetItem", "Add", "Multiply", "Power", "TrueDivide"}


def _calls(model: Any) -> list[tuple[str, list[Any]]]:
    """The calls of a graph: the kind of each, its settings and arguments; tensors are numbered."""
    numbers = {id(x): f"tensor {n}" for n, x in enumerate(model.inputs)}
    calls = []
    for node in call_nodes(model):
        settings = {**node.operation.get_config(), "name": None}
        values = keras.tree.flatten((settings, node.arguments.args, node.arguments.kwargs))
        calls.append(
            (type(node.operation).__name__, [numbers.get(id(value), value) for value in values])
        )
        numbers |= {id(x): f"tensor {len(numbers)}" for x in node.outputs}
    return calls
