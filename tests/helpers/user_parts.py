"""Parts that a user could write: with a stock Keras layer, with a custom layer, and a join."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from reslab import spec


@spec.register
@dataclass(frozen=True)
class Depthwise(spec.Leaf):
    """A depthwise convolution with a stock Keras layer."""

    kernel: int = 3
    stride: int = 1

    @property
    def label(self) -> str:
        stride = f", /{self.stride}" if self.stride > 1 else ""
        return f"{self.kernel}x{self.kernel} depthwise{stride}"

    def out_shape(self, *in_shapes: spec.Shape) -> spec.Shape:
        (maps,) = in_shapes
        assert isinstance(maps, spec.Maps)
        return spec.window(maps, self.kernel, self.stride, "same")

    def weights(self, in_shape: spec.Shape) -> dict[str, tuple[int, ...]]:
        assert isinstance(in_shape, spec.Maps)
        return {"kernel": (self.kernel, self.kernel, in_shape.channels, 1)}

    def multiply_adds(self, in_shape: spec.Shape, out_shape: spec.Shape) -> int | None:
        assert isinstance(out_shape, spec.Maps)
        positions = out_shape.positions
        return None if positions is None else positions * out_shape.channels * self.kernel**2

    def keras_layer(self, site: spec.Site) -> Any:
        return keras.layers.DepthwiseConv2D(
            self.kernel,
            self.stride,
            padding="same",
            use_bias=False,
            data_format=site.data_format,
            name=site.path,
        )


@keras.saving.register_keras_serializable("tests")
class Bend(keras.layers.Layer):
    """x + slope * sin(x), with a slope for each channel; tracks a running mean of its input."""

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        channels = input_shape[self.axis]
        self.slope = self.add_weight((channels,), "random_normal", name="slope")
        self.level = self.add_weight((channels,), "zeros", name="level", trainable=False)

    def call(self, x: Any, training: bool = False) -> Any:
        ndim = len(x.shape)
        axis = self.axis % ndim
        if training:
            mean = ops.mean(x, [i for i in range(ndim) if i != axis])
            self.level.assign(0.9 * self.level + 0.1 * mean)
        shape = [1] * ndim
        shape[axis] = -1
        return x + ops.reshape(self.slope, shape) * ops.sin(x)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "axis": self.axis}


@spec.register
@dataclass(frozen=True)
class Sine(spec.Leaf):
    """The part of `Bend`, with a weight and a state."""

    def _channels(self, shape: spec.Shape) -> tuple[int, ...]:
        return (shape.channels if isinstance(shape, spec.Maps) else shape.features,)

    def weights(self, in_shape: spec.Shape) -> dict[str, tuple[int, ...]]:
        return {"slope": self._channels(in_shape)}

    def state(self, in_shape: spec.Shape) -> dict[str, tuple[int, ...]]:
        return {"level": self._channels(in_shape)}

    def keras_layer(self, site: spec.Site) -> Any:
        return Bend(site.channel_axis, name=site.path)


@spec.register
@dataclass(frozen=True)
class Larger(spec.Leaf):
    """Join the two paths of a unit by their maximum."""

    def out_shape(self, *in_shapes: spec.Shape) -> spec.Shape:
        return spec.Add().out_shape(*in_shapes)

    def keras_layer(self, site: spec.Site) -> Any:
        return keras.layers.Maximum(name=site.path)


UNIT = spec.Residual(
    (Depthwise(), spec.Conv(8, 1), spec.BN(), Sine()), shortcut=(), join=Larger(), tail=spec.ReLU
)
NETWORK = spec.Network(
    "mine",
    {
        "conv1": (spec.Conv(8, 3), spec.BN(), spec.ReLU, Depthwise(5, 2)),
        "conv2_x": spec.Repeat(UNIT, 3),
        "head": (spec.GlobalAvgPool, spec.Dense(3)),
    },
    (8, 8, 1),
    "a network with custom parts",
)
STOCK = spec.Network(
    "stock",
    {"conv1": (spec.Conv(8, 3), Depthwise()), "head": (spec.GlobalAvgPool, spec.Dense(3))},
    (8, 8, 1),
)
