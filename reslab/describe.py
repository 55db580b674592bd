"""What a network weighs, costs and looks like as a column of Table 1: all from `walk`, no Keras."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from reslab.spec import (
    BN,
    Activation,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAverage,
    Layer,
    Leaf,
    MaxPool,
    Network,
    Residual,
    ZeroPadShortcut,
    steps,
    walk,
)

InputShape = tuple[int | None, int | None, int]


@dataclass(frozen=True)
class Counts:
    """Numbers of a whole network; multiply-adds of one image, None where its size is open."""

    trainable_params: int
    total_params: int
    multiply_adds: int | None


def counts(network: Network, input_shape: InputShape | None = None) -> Counts:
    return total(walk(network, input_shape))


def total(layers: list[Layer]) -> Counts:
    trainable = sum(math.prod(s) for layer in layers for s in layer.weights.values())
    state = sum(math.prod(s) for layer in layers for s in layer.state.values())
    adds = [layer.multiply_adds for layer in layers]
    known = None if None in adds else sum(n for n in adds if n is not None)
    return Counts(trainable, trainable + state, known)


def depth(network: Network) -> int:
    """Layers with weights on the longest way through, shortcuts aside: the number in its name."""

    def longest(part: Any) -> int:
        deep = 0
        for step in steps(part):
            if isinstance(step, Residual):
                deep += longest((step.lead, step.body, step.tail))
            elif isinstance(step, Concat):
                deep += max(longest(branch) for branch in step.branches)
            else:
                deep += isinstance(step, Conv | Dense)
        return deep

    return sum(longest(part) for part in network.rows.values())


def table(network: Network, input_shape: InputShape | None = None) -> list[dict[str, Any]]:
    """Row by row: `row`, `output` size, `layers` in the paper's notation, `params` (trainable),
    `multiply_adds`."""
    layers = walk(network, input_shape)
    rows = []
    for name, part in network.rows.items():
        here = [layer for layer in layers if layer.row == name]
        sums = total(here)
        rows.append(
            {
                "row": name,
                "output": here[-1].out_shape.size if here else "",
                "layers": ", ".join(_runs(part)),
                "params": sums.trainable_params,
                "multiply_adds": sums.multiply_adds,
            }
        )
    return rows


def summary(network: Network, input_shape: InputShape | None = None) -> dict[str, Any]:
    """What `reslab show --json` prints; `input_shape` is (height, width, channels)."""
    sums = counts(network, input_shape)
    return {
        "name": network.name,
        "title": network.title,
        "source": network.source,
        "input_shape": list(input_shape or network.input_shape),
        "classes": network.classes,
        "depth": depth(network),
        "trainable_params": sums.trainable_params,
        "total_params": sums.total_params,
        "multiply_adds": sums.multiply_adds,
        "rows": table(network, input_shape),
    }


def _runs(part: Any) -> Iterator[str]:
    """The words of a chain, equal neighbours counted: `[3x3, 64; 3x3, 64] x 2`."""
    for words, same in groupby(filter(None, map(_words, steps(part)))):
        n = len(list(same))
        yield f"{words} x {n}" if n > 1 or words.startswith("[") else words


def _words(step: Leaf | Residual | Concat, inner: bool = False) -> str:
    match step:
        case Residual():
            # strides and shortcuts are left out, as in Table 1: its stages repeat one bracket
            chain = steps((step.lead, step.body, step.tail))
            return f"[{'; '.join(filter(None, (_words(s, inner=True) for s in chain)))}]"
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
        case GlobalAverage():
            return "average pool"
        case Dense():
            return f"{step.units}-d fc"
        case Dropout():
            return f"dropout {step.rate:g}"
        case Flatten() | BN() | Activation() | ZeroPadShortcut():
            return ""
    return step.kind
