"""A computation as a list of operations on named arrays, with the semantics of ONNX.

Operations on feature maps expect NCHW. Building a graph needs no inference engine.
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
    """One operation; `kind` and the attributes have the names of ONNX operator set 17."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Graph:
    """Shapes include the batch; None is an unknown size.

    Inputs are float32, or of the type that `types` names; outputs are float32.
    """

    name: str
    inputs: Mapping[str, tuple[Size, ...]]
    ops: tuple[Op, ...]
    constants: Mapping[str, np.ndarray]
    outputs: Mapping[str, tuple[Size, ...]]
    types: Mapping[str, str] = field(default_factory=dict)


class Builder:
    """Appends operations and gives each output a unique name."""

    def __init__(self) -> None:
        self.ops: dict[str, Op] = {}  # by the name of the output
        self.constants: dict[str, np.ndarray] = {}
        self.name_counts: Counter[str] = Counter()

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        output = self.unique_name(name or kind.lower())
        self.ops[output] = Op(kind, inputs, output, attributes)
        return output

    def constant(self, value: Any, name: str = "constant", dtype: str = "float32") -> str:
        key = self.unique_name(name)
        self.constants[key] = np.ascontiguousarray(value, dtype)
        return key

    def unique_name(self, name: str) -> str:
        self.name_counts[name] += 1
        number = self.name_counts[name]
        return name if number == 1 else self.unique_name(f"{name}_{number}")

    def graph(
        self,
        name: str,
        inputs: Mapping[str, tuple[Size, ...]],
        outputs: Mapping[str, tuple[Size, ...]],
    ) -> Graph:
        """The operations and constants that the outputs depend on."""
        needed = set(outputs)
        ops: list[Op] = []
        for op in reversed(self.ops.values()):
            if op.output in needed:
                needed.update(op.inputs)
                ops.append(op)
        constants = {k: v for k, v in self.constants.items() if k in needed}
        return Graph(name, inputs, tuple(reversed(ops)), constants, outputs)
