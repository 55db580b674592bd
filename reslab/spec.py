"""Networks as the papers draw them: plain values that know nothing of Keras.

A part is a leaf (`Conv`, `BN`, ...), a tuple of parts (a chain; `()` is the identity), `Residual`,
`Concat` or `Repeat`. A `Network` names a chain of parts row by row, as the papers' tables do.
`thread` is the one traversal: it hands every layer, with its stable path and its shapes, to a
visitor. `walk` lists the layers, `reslab.build` calls Keras, pictures and tables follow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from reslab.errors import UserError
from reslab.shapes import Maps, Shape, Vector, window


@dataclass(frozen=True)
class Init:
    """Variance scaling: deviation sqrt(scale / fan).

    With a seed, every kernel of a shape starts the same.
    """

    scale: float = 2.0
    mode: str = "fan_out"
    distribution: str = "untruncated_normal"
    seed: int | None = None


HE = Init(mode="fan_in")  # He 2015, "Delving Deep into Rectifiers", eq. 10
HE_OUT = Init()  # the same over outputs, eq. 14: what the released Torch code draws from
GLOROT = Init(1.0, "fan_avg", "uniform")
LINEAR = Init(
    1 / 3, "fan_in", "uniform"
)  # U(-1/sqrt(n), 1/sqrt(n)): Torch's own for full connections


class Leaf:
    """One layer. Subclasses say what comes out, what they weigh and what they cost."""

    @property
    def kind(self) -> str:
        """The word for this layer in a path: `conv` in `conv3_x_4_body_conv1`."""
        return type(self).__name__.lower()

    def out(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def weights(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Trainable tensors by Keras's names, for this input shape; kernels are HWIO."""
        return {}

    def state(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        """Tensors that training updates without a gradient."""
        return {}

    def multiply_adds(self, shape: Shape, out: Shape) -> int | None:
        """For one image; only convolutions and full connections count, as in the papers.

        None where the size of the maps is not known.
        """
        return 0


@dataclass(frozen=True)
class Conv(Leaf):
    """A `kernel` x `kernel` convolution.

    `pad` is "even" ((k - 1) / 2 rows on every side: the papers, Caffe, PyTorch), "same"
    (TensorFlow's, lopsided where the stride leaves a remainder) or a number of rows per side.
    """

    filters: int
    kernel: int
    stride: int = 1
    pad: int | str = "even"
    groups: int = 1
    bias: bool = False
    dilation: int = 1
    init: Init = HE_OUT

    @property
    def reach(self) -> int:
        return (self.kernel - 1) * self.dilation + 1

    def out(self, *shapes: Shape) -> Shape:
        x = _maps(self, shapes[0])
        if x.channels % self.groups or self.filters % self.groups:
            raise UserError(
                f"{self.groups} groups divide neither {x.channels} channels"
                f" nor {self.filters} filters"
            )
        return window(x, self.reach, self.stride, self.pad, channels=self.filters)

    def weights(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        channels = _maps(self, shape).channels // self.groups
        kernel = {"kernel": (self.kernel, self.kernel, channels, self.filters)}
        return kernel | ({"bias": (self.filters,)} if self.bias else {})

    def multiply_adds(self, shape: Shape, out: Shape) -> int | None:
        size = _maps(self, out).positions
        channels = _maps(self, shape).channels
        each = self.kernel**2 * (channels // self.groups) * self.filters
        return None if size is None else size * each


@dataclass(frozen=True)
class BN(Leaf):
    """Batch normalisation (Ioffe and Szegedy 2015), with the papers' Torch values by default.

    `over` is "channels", or "width": what Keras's default axis means in channels_first data.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    over: str = "channels"
    gamma: float = 1.0  # what gamma starts from

    def features(self, shape: Shape) -> int:
        if isinstance(shape, Vector):
            return shape.features
        size = shape.channels if self.over == "channels" else shape.width
        if size is None:
            raise UserError("batch norm over the width needs an input of known size")
        return size

    def weights(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("gamma", "beta"), (self.features(shape),))

    def state(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("moving_mean", "moving_variance"), (self.features(shape),))


@dataclass(frozen=True)
class Activation(Leaf):
    """A function of each number: "relu", "sigmoid" and whatever else Keras knows by name."""

    function: str

    @property
    def kind(self) -> str:
        return self.function


ReLU = Activation("relu")


@dataclass(frozen=True)
class MaxPool(Leaf):
    """`fill` pads with -inf or with 0; after a ReLU the two are the same, and zeros are cheaper."""

    size: int
    stride: int
    pad: int | str = "even"
    fill: str = "-inf"

    def out(self, *shapes: Shape) -> Shape:
        return window(_maps(self, shapes[0]), self.size, self.stride, self.pad)


@dataclass(frozen=True)
class AvgPool(Leaf):
    size: int
    stride: int
    pad: int | str = 0

    def out(self, *shapes: Shape) -> Shape:
        return window(_maps(self, shapes[0]), self.size, self.stride, self.pad)


@dataclass(frozen=True)
class GlobalAverage(Leaf):
    """The mean of each map."""

    def out(self, *shapes: Shape) -> Shape:
        return Vector(_maps(self, shapes[0]).channels)


GlobalAvgPool = GlobalAverage()


@dataclass(frozen=True)
class Flatten(Leaf):
    """Maps to a vector, in the `order` "hwc" (Keras) or "chw" (Caffe, Torch, channels_first)."""

    order: str = "hwc"

    def out(self, *shapes: Shape) -> Shape:
        x = _maps(self, shapes[0])
        if x.positions is None:
            raise UserError("a network that flattens its maps needs an input of known size")
        return Vector(x.positions * x.channels)


@dataclass(frozen=True)
class Dense(Leaf):
    """A full connection. The last one of the row `head` is the classifier."""

    units: int
    bias: bool = True
    init: Init = LINEAR

    def out(self, *shapes: Shape) -> Shape:
        if not isinstance(shapes[0], Vector):
            raise UserError("Dense takes a vector: put GlobalAvgPool or Flatten before it")
        return Vector(self.units)

    def weights(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        assert isinstance(shape, Vector)
        kernel = {"kernel": (shape.features, self.units)}
        return kernel | ({"bias": (self.units,)} if self.bias else {})

    def multiply_adds(self, shape: Shape, out: Shape) -> int | None:
        assert isinstance(shape, Vector)
        return shape.features * self.units


@dataclass(frozen=True)
class Dropout(Leaf):
    rate: float


@dataclass(frozen=True)
class ZeroPadShortcut(Leaf):
    """Option A (He 2015, Sec. 3.3): every `stride`-th position, new channels filled with zeros.

    The zeros come last, as in the released Torch code.
    """

    channels: int
    stride: int = 1

    @property
    def kind(self) -> str:
        return "zeropad"

    def out(self, *shapes: Shape) -> Shape:
        x = _maps(self, shapes[0])
        if self.channels < x.channels:
            raise UserError(f"option A cannot go from {x.channels} to {self.channels} channels")
        return window(x, 1, self.stride, 0, channels=self.channels)


@dataclass(frozen=True)
class Add(Leaf):
    """The sum of the two paths. With `broadcast`, maps of one channel are added to every other."""

    broadcast: bool = False

    def out(self, *shapes: Shape) -> Shape:
        body, shortcut = shapes
        widen = self.broadcast and isinstance(body, Maps) and body.channels == 1
        if body != shortcut and not (
            widen and isinstance(shortcut, Maps) and replace(shortcut, channels=1) == body
        ):
            raise UserError(f"a residual unit adds {body} to {shortcut}: the shapes must agree")
        return shortcut


@dataclass(frozen=True)
class Join(Leaf):
    """Maps of several branches, one behind the other along the channels."""

    @property
    def kind(self) -> str:
        return "concat"

    def out(self, *shapes: Shape) -> Shape:
        maps = [_maps(self, shape) for shape in shapes]
        if len({replace(x, channels=0) for x in maps}) > 1:
            raise UserError(f"the branches of a Concat differ in size: {', '.join(map(str, maps))}")
        return replace(maps[0], channels=sum(x.channels for x in maps))


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

    def thread(self, x: Value, path: str, visit: Visit) -> Value:
        f = thread(self.lead, x, f"{path}_lead", visit)
        y = thread(self.body, f, f"{path}_body", visit)
        if self.when == "always" or _changes(x.shape, y.shape):
            x = thread(self.shortcut, f, f"{path}_shortcut", visit)
        total = _visit(self.join, (y, x), f"{path}_{self.join.kind}", visit)
        return thread(self.tail, total, f"{path}_tail", visit)


@dataclass(frozen=True)
class Concat:
    """Branches side by side: a dense layer is `Concat(((), (BN(), ReLU, Conv(k, 3))))`."""

    branches: tuple[Part, ...]

    def thread(self, x: Value, path: str, visit: Visit) -> Value:
        ends = tuple(
            thread(branch, x, f"{path}_branch{i}", visit)
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
    insists on one.
    """

    name: str
    rows: Mapping[str, Part]
    input_shape: tuple[int | None, int | None, int]
    title: str = ""
    source: str = ""
    data_format: str | None = None

    @property
    def classes(self) -> int | None:
        """Outputs of the classifier: None where there is no head."""
        dense = [s for s in steps(self.rows.get("head", ())) if isinstance(s, Dense)]
        return dense[-1].units if dense else None


# The traversal ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Value:
    """What flows along an arrow: a shape, and whatever the visitor made of it."""

    shape: Shape
    made: Any = None


Visit = Callable[[Leaf, str, tuple[Value, ...], Shape], Any]


def steps(part: Part) -> Iterator[Leaf | Residual | Concat]:
    """A part as a flat sequence: chains are spliced, repetitions written out."""
    if isinstance(part, tuple):
        for each in part:
            yield from steps(each)
    elif isinstance(part, Repeat):
        for _ in range(part.times):
            yield from steps(part.part)
    else:
        yield part


def thread(part: Part, x: Value, path: str, visit: Visit) -> Value:
    """Send x through the part; `visit(leaf, path, inputs, out_shape)` is called layer by layer.

    A layer's path is its kind and its number among its kind in the chain; units (residual units,
    dense layers) are numbered from 1: `conv3_x_4_body_conv1` is the first convolution in the
    body of the fourth unit of conv3_x.
    """
    seen: Counter[str] = Counter()
    for step in steps(part):
        kind = step.kind if isinstance(step, Leaf) else ""
        seen[kind] += 1
        here = f"{path}_{kind}{seen[kind]}"
        x = (
            _visit(step, (x,), here, visit)
            if isinstance(step, Leaf)
            else step.thread(x, here, visit)
        )
    return x


def _visit(leaf: Leaf, inputs: tuple[Value, ...], path: str, visit: Visit) -> Value:
    try:
        out = leaf.out(*(value.shape for value in inputs))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    return Value(out, visit(leaf, path, inputs, out))


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


def walk(
    network: Network, input_shape: tuple[int | None, int | None, int] | None = None
) -> list[Layer]:
    """Every layer of the network in order of computation.

    `input_shape` is (height, width, channels) and defaults to the network's own. Raises
    UserError where the image is too small, or a part does not fit the one before it.
    """
    layers: list[Layer] = []
    value = Value(image(network, input_shape), "")
    for row, part in network.rows.items():

        def visit(
            leaf: Leaf, path: str, inputs: tuple[Value, ...], out: Shape, row: str = row
        ) -> str:
            shapes = tuple(v.shape for v in inputs)
            first = shapes[0]
            layers.append(
                Layer(
                    path=path,
                    row=row,
                    part=leaf,
                    inputs=tuple(v.made for v in inputs),
                    in_shapes=shapes,
                    out_shape=out,
                    weights=leaf.weights(first),
                    state=leaf.state(first),
                    multiply_adds=leaf.multiply_adds(first, out),
                )
            )
            return path

        value = thread(part, value, row, visit)
    return layers


def image(network: Network, input_shape: tuple[int | None, int | None, int] | None = None) -> Maps:
    """The network's input as a shape."""
    return Maps(*(input_shape or network.input_shape))


def _maps(part: Leaf, shape: Shape) -> Maps:
    if not isinstance(shape, Maps):
        raise UserError(f"{type(part).__name__} takes maps, not {shape}")
    return shape


def _changes(x: Shape, y: Shape) -> bool:
    if isinstance(x, Maps) and isinstance(y, Maps):
        return (x.channels, x.stride) != (y.channels, y.stride)
    return x != y
