"""The layers that descriptions are made of: what comes out, what they weigh, what they cost.

Use them from `reslab.spec`, which puts them together (standard library only).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from reslab.core.errors import UserError
from reslab.spec.shapes import Maps, Shape, Vector, window


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


Sigmoid = Activation("sigmoid")


@dataclass(frozen=True)
class LRN(Leaf):
    """Local response normalisation (Krizhevsky 2012, Sec. 3.3), over `size` neighbouring channels.

    x / (k + alpha * sum of squares) ^ beta; Caffe and Torch divide their alpha by the size.
    """

    size: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 2.0


@dataclass(frozen=True)
class Scale(Leaf):
    """Every number times a constant (He 2016, Sec. 3.1)."""

    factor: float


@dataclass(frozen=True)
class MaxPool(Leaf):
    """`fill` pads with -inf or with 0; after a ReLU the two are the same, and zeros are cheaper.

    `pad` as in `Conv`, or "ceil": none before, and behind as much as the last whole or partial
    window wants (Caffe's default).
    """

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
class AdaptiveAvgPool(Leaf):
    """Means over `size` x `size` windows that cover maps of any size evenly (Torch's)."""

    size: int

    def out(self, *shapes: Shape) -> Shape:
        return replace(_maps(self, shapes[0]), height=self.size, width=self.size)


@dataclass(frozen=True)
class GlobalAverage(Leaf):
    """The mean of each map: a vector, or, to `keep` them maps, maps of 1x1."""

    keep: bool = False

    def out(self, *shapes: Shape) -> Shape:
        maps = _maps(self, shapes[0])
        return replace(maps, height=1, width=1) if self.keep else Vector(maps.channels)


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
class StochasticDepth(Leaf):
    """In training, all of an image's maps are dropped at this rate (Huang 2016, Sec. 3).

    What is kept is scaled by 1 / (1 - rate), so that inference needs no scale of its own: the
    paper's weights times p are the same function.
    """

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
class Multiply(Leaf):
    """The product of the two paths; a body of 1x1 maps weighs whole maps (Hu 2017, eq. 4)."""

    def out(self, *shapes: Shape) -> Shape:
        body, maps = (_maps(self, shape) for shape in shapes)
        whole = (body.height, body.width, body.channels) == (maps.height, maps.width, maps.channels)
        if not whole and (body.height, body.width, body.channels) != (1, 1, maps.channels):
            raise UserError(f"{body} cannot weigh {maps}: 1x1x{maps.channels} can, or the same")
        return maps


@dataclass(frozen=True)
class Gate(Leaf):
    """F and x under a gate g(x) = sigmoid(W x + b), W a 1x1 convolution (He 2016, Sec. 3.1).

    "exclusive": g(x) F + (1 - g(x)) x; "shortcut": F + (1 - g(x)) x. `bias` is what b starts
    from. Where the shape changes, x is what the shortcut made of it.
    """

    of: str = "exclusive"
    bias: float = -6.0

    def out(self, *shapes: Shape) -> Shape:
        if self.of not in ("exclusive", "shortcut"):
            raise UserError(f"a gate is 'exclusive' or of the 'shortcut', not {self.of!r}")
        return Add().out(*shapes)

    def weights(self, shape: Shape) -> dict[str, tuple[int, ...]]:
        n = _maps(self, shape).channels
        return {"kernel": (1, 1, n, n), "bias": (n,)}

    def multiply_adds(self, shape: Shape, out: Shape) -> int | None:
        size = _maps(self, out).positions
        return None if size is None else size * _maps(self, out).channels ** 2


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


def _maps(part: Leaf, shape: Shape) -> Maps:
    if not isinstance(shape, Maps):
        raise UserError(f"{type(part).__name__} takes maps, not {shape}")
    return shape
