"""Parameters, multiply-adds and tables of networks, without Keras."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from typing import Any

from reslab.core.errors import UserError
from reslab.spec.joins import Multiply
from reslab.spec.leaf import Leaf
from reslab.spec.network import (
    Concat,
    Edge,
    Network,
    Part,
    Residual,
    input_maps,
    iter_rows,
    leaves,
    traverse,
    unroll,
    walk,
)
from reslab.spec.parts import (
    BN,
    LRN,
    Activation,
    AdaptiveAvgPool,
    AvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAverage,
    MaxPool,
    Scale,
    StochasticDepth,
    ZeroPadShortcut,
)
from reslab.spec.shapes import Shape, axes

InputShape = tuple[int | None, int | None, int]


@dataclass(frozen=True)
class Counts:
    """Parameters and multiply-adds of a network or of a part of it.

    Multiply-adds are of one image; None where its size is open.
    """

    trainable_params: int = 0
    total_params: int = 0
    multiply_adds: int | None = 0

    def plus(self, other: Counts, times: int = 1) -> Counts:
        """The sum of these counts and of `times` others."""
        adds = (self.multiply_adds, other.multiply_adds)
        return Counts(
            self.trainable_params + times * other.trainable_params,
            self.total_params + times * other.total_params,
            None if None in adds else adds[0] + times * adds[1],  # type: ignore[operator]
        )


def counts(network: Network, input_shape: InputShape | None = None, aux: bool = False) -> Counts:
    """Count the parameters and multiply-adds of a network.

    Args:
        network: The network.
        input_shape: (height, width, channels). Defaults to the network's own.
        aux: Whether the auxiliary heads count, which exist in training only.

    Returns:
        The counts.

    Raises:
        UserError: The image is too small, or a part does not fit the one before it.
    """
    return _sum(sums for sums, _ in _rows(network, input_shape, aux).values())


def _rows(
    network: Network, input_shape: InputShape | None, aux: bool = False
) -> dict[str, tuple[Counts, Shape]]:
    """The counts of each row, and the shape of its output."""
    rows, value = {}, Edge(input_maps(network, input_shape))
    for row, part, is_aux in iter_rows(network, aux):
        sums, end = _chain(part, value, row)
        rows[row] = sums, end.shape
        value = value if is_aux else end
    return rows


def _chain(part: Part, value: Edge, path: str) -> tuple[Counts, Edge]:
    """The counts of a row. Of equal units that keep the shape, one is visited for all."""
    layers: list[Counts] = []

    def visit(leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape) -> None:
        shape = inputs[0].shape
        trainable = _size(leaf.weights(shape))
        with_state = trainable + _size(leaf.state(shape))
        layers.append(Counts(trainable, with_state, leaf.multiply_adds(shape, out)))

    sums, start = Counts(), value
    try:
        for step, same in groupby(unroll(part)):
            left = len(list(same))
            while left:
                layers.clear()
                after = traverse(step, value, path, visit)
                times = left if after.shape == value.shape else 1
                sums = sums.plus(_sum(layers), times)
                value, left = after, left - times
    except UserError:
        traverse(
            part, start, path, lambda *_: None
        )  # raises the same error with the full layer path
        raise
    return sums, value


def _sum(each: Iterable[Counts]) -> Counts:
    return reduce(Counts.plus, each, Counts())


def _size(tensors: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in tensors.values())


def activations(network: Network, input_shape: InputShape | None = None) -> int | None:
    """Count the numbers in the outputs of all layers for one image; None where its size is open."""
    return count_numbers(layer.out_shape for layer in walk(network, input_shape))


def count_numbers(shapes: Iterable[Shape]) -> int | None:
    """Count the numbers in activations of these shapes; None where a size is open."""
    numbers = 0
    for shape in shapes:
        sizes = axes(shape, "channels_last")
        if None in sizes:
            return None
        numbers += math.prod(size or 0 for size in sizes)
    return numbers


def depth(network: Network) -> int:
    """Count the layers of a network as the number in its name does.

    These are convolutions and fully connected layers on the longest path, without shortcuts.
    """

    def longest(part: Any) -> int:
        deep = 0
        for step in unroll(part):
            if isinstance(step, Residual) and isinstance(step.join, Multiply):
                continue  # squeeze-and-excitation is not on the path
            if isinstance(step, Residual):
                deep += longest((step.lead, step.body, step.tail))
            elif isinstance(step, Concat):
                deep += max(longest(branch) for branch in step.branches)
            else:
                deep += type(step).multiply_adds is not Leaf.multiply_adds
        return deep

    return sum(longest(part) for part in network.rows.values())


def table(network: Network, input_shape: InputShape | None = None) -> list[dict[str, Any]]:
    """Describe a network row by row, as the paper's table does.

    Args:
        network: The network.
        input_shape: (height, width, channels). Defaults to the network's own.

    Returns:
        For each row a dictionary: "row", "output" (size), "layers" (in the paper's notation),
        "params" (trainable) and "multiply_adds".
    """
    return [
        {
            "row": row,
            "output": shape.size,
            "layers": ", ".join(_runs(network.rows[row])),
            "params": sums.trainable_params,
            "multiply_adds": sums.multiply_adds,
        }
        for row, (sums, shape) in _rows(network, input_shape).items()
    ]


def side_by_side(networks: Sequence[Network]) -> dict[str, Any]:
    """Describe several networks in one table (He 2015, Table 1).

    Returns "networks" with their totals, and "rows" with the layers of each network by its name.
    Raises UserError if the networks differ in row names or output sizes.
    """
    tables = {net.name: _rows(net, None) for net in networks}
    sizes = {name: [(r, shape.size) for r, (_, shape) in t.items()] for name, t in tables.items()}
    first = networks[0].name
    for name, each in sizes.items():
        if each != sizes[first]:
            raise UserError(
                f"{name} has other rows than {first}: choose networks with the same rows"
            )
    totals = {name: _sum(sums for sums, _ in rows.values()) for name, rows in tables.items()}
    return {
        "networks": [
            {
                "name": net.name,
                "depth": depth(net),
                "source": net.source,
                "params": totals[net.name].trainable_params,
                "multiply_adds": totals[net.name].multiply_adds,
            }
            for net in networks
        ],
        "rows": [
            {
                "row": row,
                "output": size,
                "layers": {n.name: [*_runs(n.rows[row])] for n in networks},
            }
            for row, size in sizes[first]
        ],
    }


def images(network: Network, input_shape: InputShape | None = None) -> dict[str, Any]:
    """The "input_shape" of the model and its "data_format": the network's, else channels_last."""
    height, width, channels = input_shape or network.input_shape
    if network.data_format == "channels_first":
        return {"input_shape": [channels, height, width], "data_format": "channels_first"}
    return {"input_shape": [height, width, channels], "data_format": "channels_last"}


def summary(network: Network, input_shape: InputShape | None = None) -> dict[str, Any]:
    """Describe a network as `reslab show --json` does, for images (height, width, channels)."""
    sums = counts(network, input_shape)
    return {
        "name": network.name,
        "title": network.title,
        "source": network.source,
        **images(network, input_shape),
        "classes": network.classes,
        "depth": depth(network),
        "trainable_params": sums.trainable_params,
        "total_params": sums.total_params,
        "multiply_adds": sums.multiply_adds,
        "trainable_params_with_aux": counts(network, input_shape, aux=True).trainable_params,
        "rows": table(network, input_shape),
    }


def _runs(part: Any) -> Iterator[str]:
    """The labels of a chain, with equal neighbours counted: "[3x3, 64; 3x3, 64] x 2"."""
    for label, same in groupby(filter(None, map(_label, unroll(part)))):
        n = len(list(same))
        yield f"{label} x {n}" if n > 1 or label.startswith("[") else label


def _label(step: Leaf | Residual | Concat, inner: bool = False) -> str:
    match step:
        case Residual(join=Multiply()):  # as SENet's Table 1 writes it: fc, [16, 256]
            widths = [str(leaf.filters) for leaf in leaves(step.body) if isinstance(leaf, Conv)]
            return f"se, {', '.join(widths)}"
        case Residual():
            # as in Table 1, without strides and shortcuts: a stage is one bracket
            chain = unroll((step.lead, step.body, step.tail))
            return f"[{'; '.join(filter(None, (_label(s, inner=True) for s in chain)))}]"
        case Concat():
            branches = (", ".join(_runs(branch)) or "identity" for branch in step.branches)
            return f"{{{' | '.join(branches)}}}"
        case Conv():
            groups = f", C={step.groups}" if step.groups > 1 else ""
            stride = f", stride {step.stride}" if step.stride > 1 and not inner else ""
            return f"{step.kernel}x{step.kernel}, {step.filters}{groups}{stride}"
        case MaxPool() | AvgPool():
            kind = "max" if isinstance(step, MaxPool) else "average"
            return f"{step.size}x{step.size} {kind} pool, stride {step.stride}"
        case GlobalAverage() | AdaptiveAvgPool():
            return "average pool"
        case Dense():
            return f"{step.units}-d fc"
        case Dropout():
            return f"dropout {step.rate:g}"
        case (
            Flatten()
            | BN()
            | LRN()
            | Activation()
            | Scale()
            | StochasticDepth()
            | ZeroPadShortcut()
        ):
            return ""
    return step.label
