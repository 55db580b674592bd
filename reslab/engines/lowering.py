"""From a model's calls to graph operations; `lowering_rules` has one rule per kind of layer.

A Keras tensor is stored in the axis order that the last operation produced, which
`LoweredTensor.axes` records. NHWC data are therefore transposed once, at the input, and a `Permute`
costs nothing. Zero padding is deferred until a convolution or pool that can absorb it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import activations

from reslab.engines.graph import Builder, Size
from reslab.engines.program import Unsupported

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LoweredTensor:
    """A Keras tensor of the given shape, stored with its axes in the order `axes`.

    `pads` are the zeros (before, after) that each axis has yet to be padded with. `positive`: all
    values are at least zero.
    """

    name: str
    shape: tuple[Size, ...]
    axes: tuple[int, ...]
    positive: bool = False
    pads: Pads = ()

    @property
    def padded_shape(self) -> tuple[Size, ...]:
        """The shape after the deferred padding."""
        pads = self.pads or ((0, 0),) * len(self.shape)
        return tuple(
            None if n is None else n + sum(p) for n, p in zip(self.shape, pads, strict=True)
        )


ACTIVATIONS = {
    getattr(activations, name): name
    for name in ("linear", "relu", "relu6", "sigmoid", "silu", "softmax", "softplus", "tanh")
}


class Lowering(Builder):
    """A graph builder that tracks the axis order of Keras tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.transposed: dict[tuple[Any, ...], str] = {}

    def transpose(self, x: LoweredTensor, axes: tuple[int, ...]) -> str:
        """The name of x, padded and with its axes in the given order."""
        key = x.name, x.axes, x.pads, axes
        if key not in self.transposed:
            name = x.name
            if x.pads:
                pads = [x.pads[axis] for axis in x.axes]
                before_after = [p[0] for p in pads] + [p[1] for p in pads]
                sizes = self.constant(before_after, "pads", "int64")
                name = self.add("Pad", name, sizes, mode="constant")
            if axes != x.axes:
                perm = tuple(x.axes.index(axis) for axis in axes)
                name = self.add("Transpose", name, perm=perm)
            self.transposed[key] = name
        return self.transposed[key]

    def constant_like(self, x: LoweredTensor, value: Any) -> str:
        """A constant that broadcasts over x as stored; `value` is in the Keras axis order."""
        value = np.asarray(value)
        if value.ndim == 0:
            return self.constant(value)
        value = value.reshape((1,) * (len(x.shape) - value.ndim) + value.shape)
        return self.constant(value.transpose(x.axes))

    def elementwise(
        self,
        x: LoweredTensor,
        kind: str,
        *operands: str,
        positive: bool = False,
        **attributes: Any,
    ) -> LoweredTensor:
        """An elementwise operation, which keeps the axis order."""
        name = self.add(kind, self.transpose(x, x.axes), *operands, **attributes)
        return LoweredTensor(name, x.padded_shape, x.axes, positive)

    def activation(self, x: LoweredTensor, function: Any, op: Any) -> LoweredTensor:
        """Raises Unsupported for a function that ONNX does not have."""
        name = ACTIVATIONS.get(function)
        if function is None or name == "linear":
            return x
        if name == "silu":
            gate = self.elementwise(x, "Sigmoid")
            return self.elementwise(x, "Mul", gate.name)
        if name == "relu6":
            limits = self.constant(0), self.constant(6)
            return self.elementwise(x, "Clip", *limits, positive=True)
        if name == "softmax":
            return self.elementwise(
                x, "Softmax", positive=True, axis=x.axes.index(len(x.shape) - 1)
            )
        if name is None:
            raise Unsupported(f"the activation of layer {op.name!r}")
        return self.elementwise(x, name.capitalize(), positive=name != "tanh")
