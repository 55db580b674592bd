"""From a model's calls to plain operations; `layer_rules` has a rule for each kind of layer.

A Keras value is in memory in whichever order of axes the last operation left it; `Tensor.axes`
says which. So data in channels_last are turned once, at the entrance, and a `Permute` costs
nothing. Zero padding waits for a convolution or pool that can take it over.
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
class Tensor:
    """A Keras value of this shape, in memory in the order `axes`.

    `pads` of zeros on each axis are still to come. `positive`: no number is below zero.
    """

    name: str
    shape: tuple[Size, ...]
    axes: tuple[int, ...]
    positive: bool = False
    pads: Pads = ()

    @property
    def padded(self) -> tuple[Size, ...]:
        """The Keras shape with what is still to come."""
        pads = self.pads or ((0, 0),) * len(self.shape)
        return tuple(
            None if n is None else n + sum(p) for n, p in zip(self.shape, pads, strict=True)
        )


WORDS = {
    getattr(activations, word): word
    for word in ("linear", "relu", "relu6", "sigmoid", "silu", "softmax", "softplus", "tanh")
}


class Lowering(Builder):
    """A builder that knows how Keras values lie."""

    def __init__(self) -> None:
        super().__init__()
        self.turned: dict[tuple[Any, ...], str] = {}

    def at(self, x: Tensor, axes: tuple[int, ...]) -> str:
        """The name of x with its axes in this order, and padded."""
        key = x.name, x.axes, x.pads, axes
        if key not in self.turned:
            name = x.name
            if x.pads:
                pads = [x.pads[axis] for axis in x.axes]
                both = [p[0] for p in pads] + [p[1] for p in pads]
                name = self.add("Pad", name, self.constant(both, "pads", "int64"), mode="constant")
            if axes != x.axes:
                turn = tuple(x.axes.index(axis) for axis in axes)
                name = self.add("Transpose", name, perm=turn)
            self.turned[key] = name
        return self.turned[key]

    def like(self, x: Tensor, value: Any) -> str:
        """A constant that broadcasts over x; `value` broadcasts over the Keras value."""
        value = np.asarray(value)
        if value.ndim == 0:
            return self.constant(value)
        value = value.reshape((1,) * (len(x.shape) - value.ndim) + value.shape)
        return self.constant(value.transpose(x.axes))

    def each(self, x: Tensor, kind: str, *more: str, positive: bool = False, **how: Any) -> Tensor:
        """An operation on every number, wherever it lies."""
        name = self.add(kind, self.at(x, x.axes), *more, **how)
        return Tensor(name, x.padded, x.axes, positive)

    def activated(self, x: Tensor, function: Any, op: Any) -> Tensor:
        """Raises Unsupported for a function that is not among ONNX's."""
        word = WORDS.get(function)
        if function is None or word == "linear":
            return x
        if word == "silu":
            gate = self.each(x, "Sigmoid")
            return self.each(x, "Mul", gate.name)
        if word == "relu6":
            limits = self.constant(0), self.constant(6)
            return self.each(x, "Clip", *limits, positive=True)
        if word == "softmax":
            return self.each(x, "Softmax", positive=True, axis=x.axes.index(len(x.shape) - 1))
        if word is None:
            raise Unsupported(f"the activation of layer {op.name!r}")
        return self.each(x, word.capitalize(), positive=word != "tanh")
