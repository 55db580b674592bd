"""Networks as the papers draw them: plain values that know nothing of Keras.

A part is a leaf (`Conv`, `BN`, ...), a tuple of parts (a chain; `()` is the identity), `Residual`,
`Concat` or `Repeat`. A `Network` names a chain of parts row by row, as the papers' tables do.
`traverse` is the one traversal: it hands every layer, with its stable path and its shapes, to a
visitor. `walk` lists the layers, `reslab.models.build` calls Keras, pictures and tables follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from reslab.core.errors import UserError
from reslab.spec.joins import Add, Join
from reslab.spec.leaf import Leaf
from reslab.spec.parts import Dense
from reslab.spec.shapes import Maps, Shape


@dataclass(frozen=True)
class Residual:
    """`tail(join(body(f), s))` with f = lead(x); s is x, or shortcut(f) where shapes change.

    Channels and cumulative stride decide, so that it holds for maps of any size. `when="always"`
    takes the shortcut in every unit (option C; 1x1, dropout or scaled shortcuts).
    """

    body: Part
    shortcut: Part
    lead: Part = ()  # before the fork: pre-activation
    tail: Part = ()  # after the sum: the original order
    join: Leaf = field(default_factory=Add)
    when: str = "change"

    def traverse(self, x: Edge, path: str, visit: Visit) -> Edge:
        f = traverse(self.lead, x, f"{path}_lead", visit)
        y = traverse(self.body, f, f"{path}_body", visit)
        if self.takes_shortcut(x.shape, y.shape):
            x = traverse(self.shortcut, f, f"{path}_shortcut", visit)
        total = _visit(self.join, (y, x), f"{path}_{self.join.kind}", visit)
        return traverse(self.tail, total, f"{path}_tail", visit)

    def takes_shortcut(self, x: Shape, y: Shape) -> bool:
        """Whether the shortcut is taken, where the body makes y of x."""
        return self.when == "always" or _changes(x, y)


@dataclass(frozen=True)
class Concat:
    """Branches side by side: a dense layer is `Concat(((), (BN(), ReLU, Conv(k, 3))))`."""

    branches: tuple[Part, ...]

    def traverse(self, x: Edge, path: str, visit: Visit) -> Edge:
        ends = tuple(
            traverse(branch, x, f"{path}_branch{i}", visit)
            for i, branch in enumerate(self.branches, 1)
        )
        join = Join()
        return _visit(join, ends, f"{path}_{join.kind}", visit)


@dataclass(frozen=True)
class Repeat:
    """`part`, `times` over, each with weights of its own."""

    part: Part
    times: int


Part = Leaf | Residual | Concat | Repeat | tuple["Part", ...]
Block = Callable[..., Part]


def stage(block: Block, width: int, units: int, stride: int = 1) -> Part:
    """The first block, which may stride, and the repetition of it that does not."""
    return block(width, stride), Repeat(block(width), units - 1)


@dataclass(frozen=True)
class Network:
    """Rows as in the paper's table, with the input (height, width, channels) and where it is from.

    Row names are prefixes of layer names, and taps. `data_format` is set where the source
    insists on one. `aux` holds auxiliary classifiers by the row behind which they stand, each
    with the weight of its loss: they train, and are gone at inference (Szegedy 2014, Sec. 5).
    """

    name: str
    rows: Mapping[str, Part]
    input_shape: tuple[int | None, int | None, int]
    title: str = ""
    source: str = ""
    data_format: str | None = None
    aux: Mapping[str, tuple[Part, float]] = field(default_factory=dict)

    @property
    def classes(self) -> int | None:
        """Outputs of the classifier: None where there is no head."""
        dense = [s for s in unroll(self.rows.get("head", ())) if isinstance(s, Dense)]
        return dense[-1].units if dense else None


# The traversal ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edge:
    """What flows along an arrow: a shape, and whatever the visitor made of it."""

    shape: Shape
    result: Any = None


Visit = Callable[[Leaf, str, tuple[Edge, ...], Shape], Any]


def unroll(part: Part) -> Iterator[Leaf | Residual | Concat]:
    """A part as a flat sequence: chains are spliced, repetitions written out."""
    if isinstance(part, tuple):
        for each in part:
            yield from unroll(each)
    elif isinstance(part, Repeat):
        for _ in range(part.times):
            yield from unroll(part.part)
    else:
        yield part


def leaves(part: Part) -> Iterator[Leaf]:
    """Every leaf of a part, those of shortcuts too, whether or not they will be taken."""
    for step in unroll(part):
        if isinstance(step, Residual):
            yield from leaves((step.lead, step.body, step.shortcut, step.join, step.tail))
        elif isinstance(step, Concat):
            yield from leaves(step.branches)
        else:
            yield step


def traverse(
    part: Part, x: Edge, path: str, visit: Visit, seen: Counter[str] | None = None
) -> Edge:
    """Send x through the part; `visit(leaf, path, inputs, out_shape)` is called layer by layer.

    A layer's path is its kind and its number among its kind in the chain; units (residual units,
    dense layers) are numbered from 1: `conv3_x_4_body_conv1` is the first convolution in the
    body of the fourth unit of conv3_x. `seen` counts what came before in the chain, and is added
    to: a chain may be sent piece by piece.
    """
    seen = Counter() if seen is None else seen
    for step in unroll(part):
        kind = step.kind if isinstance(step, Leaf) else ""
        seen[kind] += 1
        here = f"{path}_{kind}{seen[kind]}"
        x = (
            _visit(step, (x,), here, visit)
            if isinstance(step, Leaf)
            else step.traverse(x, here, visit)
        )
    return x


def _visit(leaf: Leaf, inputs: tuple[Edge, ...], path: str, visit: Visit) -> Edge:
    try:
        out = leaf.out_shape(*(value.shape for value in inputs))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Edge(out, visit(leaf, path, inputs, out))


@dataclass(frozen=True)
class Layer:
    """One line of `walk`. Shapes are of a single image; `inputs` are paths ("" is the image)."""

    path: str
    row: str
    part: Leaf
    inputs: tuple[str, ...]
    in_shapes: tuple[Shape, ...]
    out_shape: Shape
    weights: Mapping[str, tuple[int, ...]]
    state: Mapping[str, tuple[int, ...]]
    multiply_adds: int | None


def iter_rows(network: Network, aux: bool = False) -> Iterator[tuple[str, Part, bool]]:
    """Each row with its name; then, on request, the auxiliary head that branches off behind it.

    The third is whether it leads aside: what follows begins where it began.
    """
    for row, part in network.rows.items():
        yield row, part, False
        if aux and row in network.aux:
            yield f"{row}_aux", network.aux[row][0], True


def walk(
    network: Network,
    input_shape: tuple[int | None, int | None, int] | None = None,
    aux: bool = False,
) -> list[Layer]:
    """Every layer of the network in order of computation, auxiliary heads only on request.

    `input_shape` is (height, width, channels) and defaults to the network's own. Raises
    UserError where the image is too small, or a part does not fit the one before it.
    """
    layers: list[Layer] = []
    value = Edge(input_maps(network, input_shape), "")
    for row, part, is_aux in iter_rows(network, aux):

        def visit(
            leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape, row: str = row
        ) -> str:
            shapes = tuple(v.shape for v in inputs)
            first = shapes[0]
            layers.append(
                Layer(
                    path=path,
                    row=row,
                    part=leaf,
                    inputs=tuple(v.result for v in inputs),
                    in_shapes=shapes,
                    out_shape=out,
                    weights=leaf.weights(first),
                    state=leaf.state(first),
                    multiply_adds=leaf.multiply_adds(first, out),
                )
            )
            return path

        end = traverse(part, value, row, visit)
        value = value if is_aux else end
    return layers


def input_maps(
    network: Network, input_shape: tuple[int | None, int | None, int] | None = None
) -> Maps:
    """The network's input as a shape."""
    return Maps(*(input_shape or network.input_shape))


def _changes(x: Shape, y: Shape) -> bool:
    if isinstance(x, Maps) and isinstance(y, Maps):
        return (x.channels, x.stride) != (y.channels, y.stride)
    return x != y
