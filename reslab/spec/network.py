"""Networks as values, written as the papers' tables are, without Keras.

A part is a leaf (`Conv`, `BN`, ...), a tuple of parts (a chain; `()` is the identity), `Residual`,
`Concat` or `Repeat`. A `Network` maps the row names of a paper's table to parts. `traverse` visits
every layer with its path and shapes. Everything else uses it: `walk` lists the layers,
`reslab.models.build` makes a Keras model, tables and pictures read the same layers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from reslab.core.errors import UserError, short
from reslab.spec.fields import OneOf, Times, check_fields
from reslab.spec.joins import Add, Join
from reslab.spec.leaf import Leaf
from reslab.spec.limits import check_network, layer_count
from reslab.spec.parts import Dense
from reslab.spec.shapes import Maps, Shape


@dataclass(frozen=True)
class Residual:
    """Add a shortcut to a body: a residual unit (He 2015, eq. 1).

    The output is tail(join(body(f), s)) with f = lead(x). The skip s is the identity x where the
    shape stays, and shortcut(f) where it changes. Channels and cumulative stride decide that, so
    the answer is the same for images of any size.

    Args:
        body: The layers of the residual function.
        shortcut: The layers that change the shape on the skip; `()` if there are none.
        lead: Layers before the paths fork: the pre-activation (He 2016).
        tail: Layers after the join, such as the last ReLU (He 2015).
        join: What joins the two paths: `Add()` by default, or `Multiply()` or `Gate()`.
        when: "change", or "always" for a shortcut in every unit (option C; 1x1 convolutions,
            dropout or constants on the skip).
    """

    body: Part
    shortcut: Part
    lead: Part = ()
    tail: Part = ()
    join: Leaf = field(default_factory=Add)
    when: Annotated[str, OneOf(("change", "always"))] = "change"

    def __post_init__(self) -> None:
        check_fields(self)

    def layer_count(self) -> int:
        if not isinstance(self.join, Leaf):
            raise UserError(f"{short(self.join)} joins no paths: use Add(), Multiply() or Gate()")
        return 1 + layer_count((self.lead, self.body, self.shortcut, self.tail))

    def traverse(self, x: Edge, path: str, visit: Visit) -> Edge:
        f = traverse(self.lead, x, f"{path}_lead", visit)
        y = traverse(self.body, f, f"{path}_body", visit)
        if self.takes_shortcut(x.shape, y.shape):
            x = traverse(self.shortcut, f, f"{path}_shortcut", visit)
        total = _visit(self.join, (y, x), f"{path}_{self.join.kind}", visit)
        return traverse(self.tail, total, f"{path}_tail", visit)

    def takes_shortcut(self, x: Shape, y: Shape) -> bool:
        """Whether the skip is the shortcut, for an input x and an output y of the body."""
        return self.when == "always" or _changes(x, y)


@dataclass(frozen=True)
class Concat:
    """Concatenate the outputs of branches along the channels.

    A layer of DenseNet is `Concat(((), (BN(), ReLU, Conv(k, 3))))`.

    Args:
        branches: The parts. All get the same input; `()` passes it on.
    """

    branches: tuple[Part, ...]

    def layer_count(self) -> int:
        if not isinstance(self.branches, tuple) or not self.branches:
            raise UserError("a Concat has a tuple of branches, at least one")
        return 1 + layer_count(self.branches)

    def traverse(self, x: Edge, path: str, visit: Visit) -> Edge:
        ends = tuple(
            traverse(branch, x, f"{path}_branch{i}", visit)
            for i, branch in enumerate(self.branches, 1)
        )
        join = Join()
        return _visit(join, ends, f"{path}_{join.kind}", visit)


@dataclass(frozen=True)
class Repeat:
    """Repeat a part. Each repetition has its own weights.

    Args:
        part: What is repeated.
        times: How often.
    """

    part: Part
    times: Times

    def __post_init__(self) -> None:
        check_fields(self)

    def layer_count(self) -> int:
        return self.times * max(1, layer_count(self.part))


Part = Leaf | Residual | Concat | Repeat | tuple["Part", ...]
Block = Callable[..., Part]


def stage(block: Block, width: int, units: int, stride: int = 1) -> Part:
    """Make a stage: one block that may stride, then repetitions without a stride.

    Args:
        block: A function (width, stride=1) -> part.
        width: Number of channels, as the block defines it.
        units: Number of blocks.
        stride: Stride of the first block.

    Returns:
        The part.
    """
    return block(width, stride), Repeat(block(width), units - 1)


@dataclass(frozen=True)
class Network:
    """Describe a network row by row, as the table of its paper does.

    Args:
        name: Short name, such as "resnet50".
        rows: Parts by the paper's row names, in order. A row name is the start of the paths of its
            layers, and can be a tap of `reslab.create`. The row "head" is the classifier.
        input_shape: (height, width, channels); height and width may be None.
        title: Name for tables and pictures.
        source: Where the network is from: paper, table, equation.
        data_format: "channels_first" or "channels_last" where the source requires one.
        aux: Auxiliary classifiers by the row after which they branch off, each with the weight of
            its loss. They exist in training only (Szegedy 2014, Sec. 5).
    """

    name: str
    rows: Mapping[str, Part]
    input_shape: tuple[int | None, int | None, int]
    title: str = ""
    source: str = ""
    data_format: str | None = None
    aux: Mapping[str, tuple[Part, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_network(self)

    @property
    def classes(self) -> int | None:
        """Number of outputs of the classifier; None without a head."""
        dense = [s for s in unroll(self.rows.get("head", ())) if isinstance(s, Dense)]
        return dense[-1].units if dense else None


# The traversal ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Edge:
    """A connection between layers during a traversal.

    Args:
        shape: The shape of what passes, of one image.
        result: What the visitor returned for the layer that it comes from.
    """

    shape: Shape
    result: Any = None


Visit = Callable[[Leaf, str, tuple[Edge, ...], Shape], Any]


def unroll(part: Part) -> Iterator[Leaf | Residual | Concat]:
    """List the steps of a part: nested chains are flattened and repetitions written out."""
    if isinstance(part, tuple):
        for each in part:
            yield from unroll(each)
    elif isinstance(part, Repeat):
        for _ in range(part.times):
            yield from unroll(part.part)
    else:
        yield part


def leaves(part: Part) -> Iterator[Leaf]:
    """List every leaf of a part, including those of shortcuts that may not be used."""
    for step in unroll(part):
        if isinstance(step, Residual):
            yield from leaves((step.lead, step.body, step.shortcut, step.join, step.tail))
        elif isinstance(step, Concat):
            yield from leaves(step.branches)
        else:
            yield step


def traverse(
    part: Part, x: Edge, path: str, visit: Visit, counts: Counter[str] | None = None
) -> Edge:
    """Visit every layer of a part in order of computation.

    A layer path consists of the row, the number of the unit (from 1), the branch, and the kind of
    the layer with its number in the chain: "conv3_x_4_body_conv1" is the first convolution in the
    body of the fourth unit of conv3_x.

    Args:
        part: The part.
        x: The input.
        path: The start of the layer paths, such as the row name.
        visit: Called as visit(leaf, path, inputs, out_shape) for every layer; `inputs` are edges.
        counts: How many steps of each kind came before in the chain. It is updated, so that a
            chain can be traversed piece by piece.

    Returns:
        The output, with the result of the last visit.

    Raises:
        UserError: A part does not fit its input. The message starts with the layer path.
    """
    counts = Counter() if counts is None else counts
    for step in unroll(part):
        kind = step.kind if isinstance(step, Leaf) else ""
        counts[kind] += 1
        step_path = f"{path}_{kind}{counts[kind]}"
        x = (
            _visit(step, (x,), step_path, visit)
            if isinstance(step, Leaf)
            else step.traverse(x, step_path, visit)
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
    """One layer of `walk`. Shapes are of one image.

    Args:
        path: The layer path.
        row: The row of the network.
        part: The leaf.
        inputs: Paths of the layers whose outputs it takes; "" is the image.
        in_shapes: Shapes of the inputs.
        out_shape: Shape of the output.
        weights: Shapes of the trainable variables by name.
        state: Shapes of the other variables by name, such as running means.
        multiply_adds: Of one image; None where the size is open.
    """

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
    """List the rows of a network as (name, part, whether it is an auxiliary head).

    With `aux`, an auxiliary head follows the row after which it branches off; the next row takes
    the output of that row, not of the head.
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
    """List every layer of a network in order of computation.

    Args:
        network: The network.
        input_shape: (height, width, channels). Defaults to the network's own.
        aux: Whether auxiliary heads are included.

    Returns:
        The layers, with paths, shapes, variables and multiply-adds.

    Raises:
        UserError: The image is too small, or a part does not fit the one before it.
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
    """Return the input of a network as a shape; `input_shape` replaces the network's own."""
    return Maps(*(input_shape or network.input_shape))


def _changes(x: Shape, y: Shape) -> bool:
    if isinstance(x, Maps) and isinstance(y, Maps):
        return (x.channels, x.stride) != (y.channels, y.stride)
    return x != y
