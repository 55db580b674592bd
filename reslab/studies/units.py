"""Where in a network is measured: its layers in order of depth, its units one behind the other.

All of it follows from the description (standard library only).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from reslab.spec import (
    BN,
    Activation,
    AvgPool,
    Conv,
    Dense,
    Dropout,
    Edge,
    Layer,
    MaxPool,
    Multiply,
    Network,
    Part,
    Repeat,
    Residual,
    Scale,
    StochasticDepth,
    input_maps,
    leaves,
    traverse,
    unroll,
    walk,
)
from reslab.spec.shapes import Shape


@dataclass(frozen=True)
class Place:
    """A layer with a kernel. `number` counts those that are on no shortcut, from 1.

    A layer of a shortcut has the number of the one before it, so that a residual net and its plain
    twin number their common layers alike.
    """

    path: str
    row: str
    number: int
    shortcut: bool
    kind: str  # "conv", "dense"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def kernels(network: Network) -> list[Place]:
    """Every convolution and full connection, in order of computation."""
    found, number = [], 0
    for layer in walk(network):
        if isinstance(layer.part, Conv | Dense):
            shortcut = "_shortcut_" in layer.path
            number += not shortcut
            found.append(Place(layer.path, layer.row, number, shortcut, layer.part.kind))
    return found


@dataclass(frozen=True)
class Response:
    """A 3x3 convolution, and the layer whose output is its response."""

    place: Place
    source: str  # a path: of the batch norm behind the convolution, else of the convolution itself
    normalised: bool


def responses(network: Network) -> list[Response]:
    """He 2015, Sec. 4.2, Fig. 7: the outputs of each 3x3 layer, after BN, before what follows.

    A pre-activation unit has no BN behind its last convolution, which goes into the sum: there, as
    where a net has no BN, the response is what the convolution puts out.
    """
    layers = walk(network)
    takers: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in layer.inputs:
            takers.setdefault(name, []).append(layer)
    three = {x.path for x in layers if isinstance(x.part, Conv) and x.part.kernel == 3}
    found = []
    for place in kernels(network):
        if place.path in three:
            behind = takers.get(place.path, [])
            normalised = len(behind) == 1 and isinstance(behind[0].part, BN)
            source = behind[0].path if normalised else place.path
            found.append(Response(place, source, normalised))
    return found


# Units --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """A residual unit of the network, or the layers that are one in its residual twin.

    `start` and `end` are paths of the layers whose outputs go in and come out; "" is the image.
    """

    name: str  # conv3_x_4
    row: str
    residual: bool
    layers: tuple[Layer, ...]
    start: str
    end: str
    taken: Shape
    made: Shape

    @property
    def keeps(self) -> bool:
        """Whether what comes out has the shape of what goes in."""
        return self.taken == self.made


def units(network: Network) -> list[Unit]:
    """The units in order of depth: names and numbers are those of both twins.

    A plain net made by `transforms.plain` keeps what was a unit as (lead, body, tail). Units inside
    of other parts are no links of the chain, and are left out.
    """
    found: list[Unit] = []
    layers = {layer.path: layer for layer in walk(network)}
    value = Edge(input_maps(network), "")
    for row, part in network.rows.items():
        seen: Counter[str] = Counter()
        count = 0
        for piece in _pieces(part):
            paths: list[str] = []

            def visit(leaf: Any, path: str, inputs: Any, out: Any, paths: list[str] = paths) -> str:
                paths.append(path)
                return path

            end = traverse(piece, value, row, visit, seen)
            if _is_unit(piece):
                count += 1
                inside = tuple(layers[path] for path in paths)
                ends = value.result, end.result, value.shape, end.shape
                residual = isinstance(piece, Residual)
                found.append(Unit(f"{row}_{count}", row, residual, inside, *ends))
            value = end
    return found


def _pieces(part: Part) -> Iterator[Part]:
    """The links of a chain, with what was a unit whole."""
    if isinstance(part, Repeat):
        for _ in range(part.times):
            yield from _pieces(part.part)
    elif isinstance(part, tuple) and not _is_unit(part):
        for each in part:
            yield from _pieces(each)
    else:
        yield part


def _is_unit(part: Part) -> bool:
    if isinstance(part, Residual):
        return not isinstance(part.join, Multiply)
    if not isinstance(part, tuple) or len(part) != 3:
        return False
    lead, body, tail = part
    return isinstance(body, tuple) and _weighs(body) and not _weighs(lead) and not _weighs(tail)


def _weighs(part: Part) -> bool:
    """Whether it holds a convolution, and no residual unit."""
    inner = any(_is_unit(step) for step in unroll(part) if isinstance(step, Residual))
    return not inner and any(isinstance(leaf, Conv) for leaf in leaves(part))


KEEP_ZERO = Activation, Scale, Dropout, StochasticDepth, AvgPool, MaxPool


def closing(unit: Unit) -> Layer | None:
    """The layer of a residual unit's body that makes it zero once its own weights are zero.

    With it the sum is of the shortcut alone: of x itself, or of what the shortcut (a gate, a
    constant) makes of it. None where the body ends in something that would not stay zero.
    """
    inside = {layer.path: layer for layer in unit.layers}
    join = next(
        layer
        for layer in reversed(unit.layers)
        if len(layer.inputs) == 2 and not isinstance(layer.part, Multiply)
    )
    layer = inside.get(join.inputs[0])
    while layer is not None:
        if isinstance(layer.part, BN | Conv | Dense):
            return layer
        if isinstance(layer.part, Multiply):  # squeeze-and-excitation: gate, maps
            layer = inside.get(layer.inputs[1])
        elif isinstance(layer.part, KEEP_ZERO) and _keeps_zero(layer):
            layer = inside.get(layer.inputs[0])
        else:
            return None
    return None


def _keeps_zero(layer: Layer) -> bool:
    return not isinstance(layer.part, Activation) or layer.part.function == "relu"


def alike(one: Unit, other: Unit) -> bool:
    """Whether two neighbours may stand in each other's place: all four shapes are one."""
    return one.keeps and other.keeps and one.made == other.taken and one.row == other.row


def stage_ends(rows: list[str]) -> list[int]:
    """Positions before which a new row of the network's table begins, but for the first."""
    return [i for i in range(1, len(rows)) if rows[i] != rows[i - 1]]
