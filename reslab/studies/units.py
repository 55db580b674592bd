"""The layers and units of a network that the studies measure, in order of depth.

They follow from the description of the network; Keras is not needed.
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
class KernelLayer:
    """A convolution or dense layer. `number` counts the layers outside of shortcuts, from 1.

    A shortcut layer has the number of the layer before it, so that a residual network and its plain
    twin give their common layers the same numbers.
    """

    path: str
    row: str
    number: int
    shortcut: bool
    kind: str  # "conv", "dense"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def kernel_layers(network: Network) -> list[KernelLayer]:
    """Return all convolutions and dense layers, in order of computation."""
    layers, number = [], 0
    for layer in walk(network):
        if isinstance(layer.part, Conv | Dense):
            shortcut = "_shortcut_" in layer.path
            number += not shortcut
            layers.append(KernelLayer(layer.path, layer.row, number, shortcut, layer.part.kind))
    return layers


@dataclass(frozen=True)
class Response:
    """A 3x3 convolution, and the layer whose output is its response."""

    layer: KernelLayer
    source: str  # path of the batch norm after the convolution, or of the convolution itself
    normalised: bool  # the source is a batch norm


def response_layers(network: Network) -> list[Response]:
    """Return the 3x3 layers whose responses are measured: He 2015, Sec. 4.2 and Fig. 7.

    The response is the output after batch norm and before the ReLU or the addition. Where no batch
    norm follows, as after the last convolution of a pre-activation unit, it is the output of the
    convolution.
    """
    layers = walk(network)
    consumers: dict[str, list[Layer]] = {}
    for layer in layers:
        for name in layer.inputs:
            consumers.setdefault(name, []).append(layer)
    paths = {x.path for x in layers if isinstance(x.part, Conv) and x.part.kernel == 3}
    responses = []
    for conv in kernel_layers(network):
        if conv.path in paths:
            following = consumers.get(conv.path, [])
            normalised = len(following) == 1 and isinstance(following[0].part, BN)
            source = following[0].path if normalised else conv.path
            responses.append(Response(conv, source, normalised))
    return responses


# Units --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unit:
    """A residual unit, or the layers of a plain network that are a unit in its residual twin.

    `start` is the path of the layer whose output enters the unit ("" is the image), `end` the path
    of the unit's last layer.
    """

    name: str  # conv3_x_4
    row: str
    residual: bool
    layers: tuple[Layer, ...]
    start: str
    end: str
    input_shape: Shape
    output_shape: Shape

    @property
    def keeps_shape(self) -> bool:
        return self.input_shape == self.output_shape


def units(network: Network) -> list[Unit]:
    """Return the units in order of depth. A network and its plain twin name their units alike.

    A plain network made by `transforms.plain` keeps each unit as a chain (lead, body, tail). Units
    nested in other parts are not links of the main chain and are left out.
    """
    units: list[Unit] = []
    layers = {layer.path: layer for layer in walk(network)}
    value = Edge(input_maps(network), "")
    for row, part in network.rows.items():
        counter: Counter[str] = Counter()
        count = 0
        for link in _links(part):
            paths: list[str] = []

            def visit(leaf: Any, path: str, inputs: Any, out: Any, paths: list[str] = paths) -> str:
                paths.append(path)
                return path

            end = traverse(link, value, row, visit, counter)
            if _is_unit(link):
                count += 1
                inside = tuple(layers[path] for path in paths)
                ends = value.result, end.result, value.shape, end.shape
                residual = isinstance(link, Residual)
                units.append(Unit(f"{row}_{count}", row, residual, inside, *ends))
            value = end
    return units


def _links(part: Part) -> Iterator[Part]:
    """The links of a chain; a unit is one link."""
    if isinstance(part, Repeat):
        for _ in range(part.times):
            yield from _links(part.part)
    elif isinstance(part, tuple) and not _is_unit(part):
        for each in part:
            yield from _links(each)
    else:
        yield part


def _is_unit(part: Part) -> bool:
    if isinstance(part, Residual):
        return not isinstance(part.join, Multiply)
    if not isinstance(part, tuple) or len(part) != 3:
        return False
    lead, body, tail = part
    return (
        isinstance(body, tuple) and _has_conv(body) and not _has_conv(lead) and not _has_conv(tail)
    )


def _has_conv(part: Part) -> bool:
    """Whether the part contains a convolution and no residual unit."""
    inner = any(_is_unit(step) for step in unroll(part) if isinstance(step, Residual))
    return not inner and any(isinstance(leaf, Conv) for leaf in leaves(part))


ZERO_TO_ZERO = Activation, Scale, Dropout, StochasticDepth, AvgPool, MaxPool


def closing_layer(unit: Unit) -> Layer | None:
    """Return the layer of a residual unit whose zeroed weights make the whole body zero.

    The sum is then the shortcut's output alone. None where the body ends in a layer that does not
    map zero to zero.
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
        elif isinstance(layer.part, ZERO_TO_ZERO) and _keeps_zero(layer):
            layer = inside.get(layer.inputs[0])
        else:
            return None
    return None


def _keeps_zero(layer: Layer) -> bool:
    return not isinstance(layer.part, Activation) or layer.part.function == "relu"


def swappable(one: Unit, other: Unit) -> bool:
    """Whether two neighbours can be swapped: all inputs and outputs have the same shape."""
    same_shape = one.output_shape == other.input_shape
    return one.keeps_shape and other.keeps_shape and same_shape and one.row == other.row


def stage_starts(rows: list[str]) -> list[int]:
    """Return the positions at which a new row of the network's table begins, without 0."""
    return [i for i in range(1, len(rows)) if rows[i] != rows[i - 1]]
