"""A computation as a list of plain operations on named arrays, with ONNX's names and meanings.

Maps lie as (n, channels, height, width) wherever it matters. No engine is needed to make one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Size = int | None


@dataclass(frozen=True)
class Op:
    """`kind` is ONNX's name for it (operator set 17), and so are the attributes."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """Shapes have the batch in front; None is an open size. Inputs and outputs are float32."""

    name: str
    input: str
    input_shape: tuple[Size, ...]
    ops: tuple[Op, ...]
    constants: Mapping[str, np.ndarray]
    outputs: Mapping[str, tuple[Size, ...]]


class Builder:
    """Appends operations, each with an output of its own name."""

    def __init__(self) -> None:
        self.ops: dict[str, Op] = {}  # by output
        self.constants: dict[str, np.ndarray] = {}
        self.names: Counter[str] = Counter()

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = self.name(name or kind.lower())
        self.ops[output] = Op(kind, inputs, output, attributes)
        return output

    def constant(self, value: Any, name: str = "constant", dtype: str = "float32") -> str:
        key = self.name(name)
        self.constants[key] = np.ascontiguousarray(value, dtype)
        return key

    def name(self, wanted: str) -> str:
        self.names[wanted] += 1
        number = self.names[wanted]
        return wanted if number == 1 else self.name(f"{wanted}_{number}")

    def graph(
        self, name: str, given: str, shape: tuple[Size, ...], outputs: Mapping[str, Any]
    ) -> Graph:
        """With what the outputs need, and no more."""
        needed = set(outputs)
        kept: list[Op] = []
        for op in reversed(self.ops.values()):
            if op.output in needed:
                needed.update(op.inputs)
                kept.append(op)
        constants = {k: v for k, v in self.constants.items() if k in needed}
        return Graph(name, given, shape, tuple(reversed(kept)), constants, outputs)
