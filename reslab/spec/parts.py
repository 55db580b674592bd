"""The layers that networks are made of: output shapes, variables and multiply-adds.

Import them from `reslab.spec`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated

from reslab.core.errors import UserError
from reslab.spec.fields import Flag, Fraction, Instance, Number, OneOf, Pad, Positive, Size, Text
from reslab.spec.leaf import HE_OUT, LINEAR, Init, Leaf, require_maps
from reslab.spec.shapes import Shape, Vector, window


@dataclass(frozen=True)
class Conv(Leaf):
    """Convolve maps with square kernels.

    Args:
        filters: Number of output channels.
        kernel: Side of the kernel.
        stride: Step between windows, in both directions.
        pad: Rows of zeros on each side, or "even" for (kernel - 1) / 2 rows on each side (the
            papers, Caffe, PyTorch), or "same" for TensorFlow's padding, which is asymmetric where
            the stride leaves a remainder.
        groups: Number of groups of channels (Krizhevsky 2012; Xie 2016).
        bias: Whether there is a bias. False by default, as batch normalisation follows.
        dilation: Distance between the taps of the kernel.
        init: How the kernel is initialised.
    """

    filters: Size
    kernel: Size
    stride: Size = 1
    pad: Pad = "even"
    groups: Size = 1
    bias: Flag = False
    dilation: Size = 1
    init: Annotated[Init, Instance(Init)] = HE_OUT

    @property
    def reach(self) -> int:
        """Side of the window that a kernel covers, dilation included."""
        return (self.kernel - 1) * self.dilation + 1

    def out_shape(self, *in_shapes: Shape) -> Shape:
        x = require_maps(self, in_shapes[0])
        if x.channels % self.groups or self.filters % self.groups:
            raise UserError(
                f"{self.groups} groups do not divide {x.channels} channels and"
                f" {self.filters} filters: choose a divisor of both"
            )
        return window(x, self.reach, self.stride, self.pad, channels=self.filters)

    def weights(self, in_shape: Shape) -> dict[str, tuple[int, ...]]:
        channels = require_maps(self, in_shape).channels // self.groups
        kernel = {"kernel": (self.kernel, self.kernel, channels, self.filters)}
        return kernel | ({"bias": (self.filters,)} if self.bias else {})

    def multiply_adds(self, in_shape: Shape, out_shape: Shape) -> int | None:
        positions = require_maps(self, out_shape).positions
        channels = require_maps(self, in_shape).channels // self.groups
        return None if positions is None else positions * self.kernel**2 * channels * self.filters


@dataclass(frozen=True)
class BN(Leaf):
    """Apply batch normalisation (Ioffe and Szegedy 2015).

    Args:
        momentum: Weight of the old value in the running mean and variance. The default is that of
            the papers' Torch code.
        epsilon: Number that is added to the variance.
        over: "channels", or "width", which is what Keras's default axis means in channels_first.
        gamma: Initial value of gamma.
    """

    momentum: Fraction = 0.9
    epsilon: Positive = 1e-5
    over: Annotated[str, OneOf(("channels", "width"))] = "channels"
    gamma: Number = 1.0

    def features(self, shape: Shape) -> int:
        """How many means and variances there are for an input of this shape."""
        if isinstance(shape, Vector):
            return shape.features
        size = shape.channels if self.over == "channels" else shape.width
        if size is None:
            raise UserError("batch norm over the width needs an input of fixed size")
        return size

    def weights(self, in_shape: Shape) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("gamma", "beta"), (self.features(in_shape),))

    def state(self, in_shape: Shape) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("moving_mean", "moving_variance"), (self.features(in_shape),))


@dataclass(frozen=True)
class Activation(Leaf):
    """Apply a function to each number.

    Args:
        function: Keras's name of the function, such as "relu", "sigmoid" or "gelu".
    """

    function: Text

    @property
    def kind(self) -> str:
        return self.function


ReLU = Activation("relu")
Sigmoid = Activation("sigmoid")


@dataclass(frozen=True)
class LRN(Leaf):
    """Apply local response normalisation (Krizhevsky 2012, Sec. 3.3).

    The output is x / (k + alpha * s) ^ beta; s is the sum of squares over neighbouring channels.

    Args:
        size: Number of neighbouring channels.
        alpha: Factor of the sum. Caffe and Torch divide their alpha by the size.
        beta: Exponent.
        k: Constant term.
    """

    size: Size = 5
    alpha: Number = 1e-4
    beta: Number = 0.75
    k: Number = 2.0


@dataclass(frozen=True)
class Scale(Leaf):
    """Multiply every number by a constant (He 2016, Sec. 3.1).

    Args:
        factor: The constant.
    """

    factor: Number


@dataclass(frozen=True)
class MaxPool(Leaf):
    """Take the maximum of each window.

    Args:
        size: Side of the window.
        stride: Step between windows.
        pad: As in `Conv`, or "ceil" for Caffe's default: no padding at the start, and as much at
            the end as the last, possibly partial, window needs.
        fill: Value of the padding, "-inf" or "0". They are equal after a ReLU; "0" is faster.
    """

    size: Size
    stride: Size
    pad: Pad = "even"
    fill: Annotated[str, OneOf(("-inf", "0"))] = "-inf"

    def out_shape(self, *in_shapes: Shape) -> Shape:
        return window(require_maps(self, in_shapes[0]), self.size, self.stride, self.pad)


@dataclass(frozen=True)
class AvgPool(Leaf):
    """Take the mean of each window; zeros of the padding count, except with "same".

    Args:
        size: Side of the window.
        stride: Step between windows.
        pad: As in `MaxPool`.
    """

    size: Size
    stride: Size
    pad: Pad = 0

    def out_shape(self, *in_shapes: Shape) -> Shape:
        return window(require_maps(self, in_shapes[0]), self.size, self.stride, self.pad)


@dataclass(frozen=True)
class AdaptiveAvgPool(Leaf):
    """Average maps of any size down to a fixed size, over even windows (as Torch does).

    Args:
        size: Side of the output.
    """

    size: Size

    def out_shape(self, *in_shapes: Shape) -> Shape:
        return replace(require_maps(self, in_shapes[0]), height=self.size, width=self.size)


@dataclass(frozen=True)
class GlobalAverage(Leaf):
    """Average each map. `GlobalAvgPool` is the instance that gives a vector.

    Args:
        keep: Whether the output is maps of 1x1, rather than a vector.
    """

    keep: Flag = False

    def out_shape(self, *in_shapes: Shape) -> Shape:
        maps = require_maps(self, in_shapes[0])
        return replace(maps, height=1, width=1) if self.keep else Vector(maps.channels)


GlobalAvgPool = GlobalAverage()


@dataclass(frozen=True)
class Flatten(Leaf):
    """Flatten maps to a vector. The maps must have a fixed size.

    Args:
        order: Order of the numbers: "hwc" (Keras) or "chw" (Caffe, Torch).
    """

    order: Annotated[str, OneOf(("hwc", "chw"))] = "hwc"

    def out_shape(self, *in_shapes: Shape) -> Shape:
        x = require_maps(self, in_shapes[0])
        if x.positions is None:
            raise UserError("a network that flattens its maps needs an input of fixed size")
        return Vector(x.positions * x.channels)


@dataclass(frozen=True)
class Dense(Leaf):
    """Connect all inputs to all outputs. The last one in the row `head` is the classifier.

    Args:
        units: Number of outputs.
        bias: Whether there is a bias.
        init: How the kernel is initialised.
    """

    units: Size
    bias: Flag = True
    init: Annotated[Init, Instance(Init)] = LINEAR

    def out_shape(self, *in_shapes: Shape) -> Shape:
        if not isinstance(in_shapes[0], Vector):
            raise UserError("Dense takes a vector: put GlobalAvgPool or Flatten before it")
        return Vector(self.units)

    def weights(self, in_shape: Shape) -> dict[str, tuple[int, ...]]:
        assert isinstance(in_shape, Vector)
        kernel = {"kernel": (in_shape.features, self.units)}
        return kernel | ({"bias": (self.units,)} if self.bias else {})

    def multiply_adds(self, in_shape: Shape, out_shape: Shape) -> int | None:
        assert isinstance(in_shape, Vector)
        return in_shape.features * self.units


@dataclass(frozen=True)
class Dropout(Leaf):
    """Drop single numbers in training, and scale the rest by 1 / (1 - rate).

    Args:
        rate: Probability with which a number is dropped.
    """

    rate: Fraction


@dataclass(frozen=True)
class StochasticDepth(Leaf):
    """Drop all maps of an image in training, at the end of a residual body (Huang 2016, Sec. 3).

    The maps that are kept are scaled by 1 / (1 - rate), so inference needs no factor. The paper
    instead multiplies by the survival probability at inference; the function is the same.

    Args:
        rate: Probability with which an image's maps are dropped.
    """

    rate: Fraction


@dataclass(frozen=True)
class ZeroPadShortcut(Leaf):
    """Subsample maps and append channels of zeros: option A (He 2015, Sec. 3.3).

    Args:
        channels: Number of output channels. The zeros come last, as in the released Torch code.
        stride: Every `stride`-th position is kept, in both directions.
    """

    channels: Size
    stride: Size = 1

    @property
    def kind(self) -> str:
        return "zeropad"

    def out_shape(self, *in_shapes: Shape) -> Shape:
        x = require_maps(self, in_shapes[0])
        if self.channels < x.channels:
            raise UserError(f"option A cannot go from {x.channels} to {self.channels} channels")
        return window(x, 1, self.stride, 0, channels=self.channels)
