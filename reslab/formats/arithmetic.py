"""Formulas as operations of a graph: `Tensor` has the arithmetic of an array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from reslab.engines.graph import Builder

TYPES = {"float32": 1, "float64": 11}  # onnx.TensorProto.DataType


@dataclass(frozen=True)
class Tensor:
    """A tensor of a graph under construction, of the type "float32" or "float64"."""

    graph: Builder
    name: str
    type: str = "float32"

    def constant(self, value: Any) -> Tensor:
        """A constant of the same graph."""
        name = self.graph.constant(value, "view/constant", self.type)
        return Tensor(self.graph, name, self.type)

    def apply(self, kind: str, *others: Any, **attributes: Any) -> Tensor:
        """An operation of ONNX on this tensor and others; numbers become constants."""
        names = [other if isinstance(other, str) else self.tensor(other).name for other in others]
        output = self.graph.add(kind, self.name, *names, name=f"view/{kind.lower()}", **attributes)
        return Tensor(self.graph, output, self.type)

    def as_type(self, type: str) -> Tensor:
        """The tensor in another type."""
        output = self.graph.add("Cast", self.name, name="view/cast", to=TYPES[type])
        return Tensor(self.graph, output, type)

    def tensor(self, value: Any) -> Tensor:
        """The value itself if it is a tensor, else a constant."""
        return value if isinstance(value, Tensor) else self.constant(value)

    def __add__(self, other: Any) -> Tensor:
        return self.apply("Add", other)

    def __sub__(self, other: Any) -> Tensor:
        return self.apply("Sub", other)

    def __rsub__(self, other: Any) -> Tensor:
        return self.tensor(other) - self

    def __mul__(self, other: Any) -> Tensor:
        return self.apply("Mul", other)

    __rmul__ = __mul__
    __radd__ = __add__

    def __truediv__(self, other: Any) -> Tensor:
        return self.apply("Div", other)

    def __matmul__(self, other: Any) -> Tensor:
        return self.apply("MatMul", other)

    def below(self, limit: float, then: Any, otherwise: Any) -> Tensor:
        """`then` where the tensor is less than the limit, else `otherwise`."""
        return self.apply("Less", limit).apply("Where", then, otherwise)

    def clipped(self, least: float, most: float) -> Tensor:
        return self.apply("Clip", least, most)
