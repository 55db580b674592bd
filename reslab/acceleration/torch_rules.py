"""What each stock layer does, in PyTorch's fused operations: one rule per kind of layer.

A rule looks at a layer once and gives a `Made`, or None where the layer does something that the
rule does not know. Maps are (n, c, h, w) in PyTorch's order of axes here, whatever the layer's
`data_format`, and lie in memory as channels_last. Variables are read through Keras at every call,
so that its scopes can stand others in for them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import keras
import torch
import torch.nn.functional as F
from keras import layers
from torch import Tensor

from reslab.acceleration.keras_internals import in_stateless_scope, kernel_variable
from reslab.acceleration.stock_layers import plain
from reslab.acceleration.torch_memory import store_turned
from reslab.spec.shapes import same_padding

Run = Callable[..., Tensor]  # (training, *tensors)


@dataclass(frozen=True)
class Made:
    """`run(training, *tensors)`, and what a plan may do with it and its neighbour."""

    run: Run
    fresh: bool = False  # its output is new memory, which autograd does not ask for again
    rectifies: bool = False
    adds: bool = False
    frame: tuple[int, int] | None = None  # all it does is to add so many zeros on either side ...
    takes_frame: bool = False  # ... which `run` adds itself, told them as one more argument
    picks: tuple[int, int] | None = None  # all it does is to take each so-manieth position ...
    takes_stride: bool = False  # ... which `run` does itself, told them as one more argument
    compiles: bool = True  # torch.compile makes of it what it is


Rule = Callable[[Any], Made | None]
RULES: dict[type, Rule] = {}


def rule_for(*kinds: type) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def made_of(layer: Any) -> Made | None:
    """By the rule for exactly this kind of layer: a subclass may do otherwise."""
    rule = RULES.get(type(layer))
    if rule is None or not plain(layer):
        return None
    return rule(layer)


def turn(x: Tensor) -> Tensor:
    """Maps of Keras's order of axes, channels last, in PyTorch's."""
    return x.permute(0, 3, 1, 2)


def back(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def cast(layer: Any) -> Callable[[Tensor], Tensor]:
    """Brings what comes in to the precision in which the layer computes."""
    dtype = getattr(torch, layer.compute_dtype)
    # whole numbers stay, as in Keras
    return lambda x: x.to(dtype) if x.dtype is not dtype and x.is_floating_point() else x


# Convolutions and full connections ---------------------------------------------------------------


_FEW = 8  # channels: the numbers of a vector


@rule_for(layers.Conv2D)
def _conv(layer: Any) -> Made | None:
    activation = ACTIVATIONS.get(layer.activation)
    if activation is None:
        return None
    store_turned(kernel_variable(layer))
    into = cast(layer)
    bias = layer.bias if layer.use_bias else None
    stride, dilation, groups = layer.strides, layer.dilation_rate, layer.groups
    pads = layer.padding == "same"
    reach = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, dilation, strict=True)]
    # torch 2.13 writes outside of the gradient of such a kernel, on processors with AVX2 alone
    thin = reach == [1, 1] and stride != (1, 1) and layer.kernel.shape[2] < _FEW

    def run(training: bool, x: Tensor, frame: tuple[int, int] = (0, 0)) -> Tensor:
        x, step = into(x), stride
        if pads:
            x, frame = same(x, reach, stride)
        if thin and frame == (0, 0):
            x, step = picked(x, stride), (1, 1)
        weight = into(_value(layer.kernel)).permute(3, 2, 0, 1)
        b = None if bias is None else into(bias.value)
        return activation(F.conv2d(x, weight, b, step, frame, dilation, groups))

    # the way back through an activation asks for what it gave
    return Made(run, fresh=activation is linear, takes_frame=not pads)


def picked(x: Tensor, stride: tuple[int, int]) -> Tensor:
    """Each so-manieth position of maps."""
    down, across = stride
    return turn(back(x)[:, ::down, ::across])


def same(
    x: Tensor, reach: Sequence[int], stride: tuple[int, int], by: str = "constant"
) -> tuple[Tensor, tuple[int, int]]:
    """What is left for the operation to pad; PyTorch's pad the same on either side."""
    (top, bottom), (left, right) = (
        same_padding(n, k, s) for n, k, s in zip(x.shape[2:], reach, stride, strict=True)
    )
    if top == bottom and left == right:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), by), (0, 0)


@rule_for(layers.Dense)
def _dense(layer: Any) -> Made | None:
    activation = ACTIVATIONS.get(layer.activation)
    if activation is None:
        return None
    into = cast(layer)
    bias = layer.bias if layer.use_bias else None

    def run(training: bool, x: Tensor) -> Tensor:
        b = None if bias is None else into(bias.value)
        return activation(F.linear(into(x), into(_value(layer.kernel)).t(), b))

    return Made(run)


def _value(kernel: Any) -> Tensor:
    """Of a variable, or of what LoRA makes of one."""
    return kernel.value if isinstance(kernel, keras.Variable) else kernel


# Batch norm --------------------------------------------------------------------------------------


@rule_for(layers.BatchNormalization)
def _batch_norm(layer: Any) -> Made | None:
    low = layer.compute_dtype != "float32"
    if layer.renorm or layer.synchronized or (low and not (layer.scale and layer.center)):
        return None  # without scale and shift, PyTorch keeps low precision's sums in low precision
    into = cast(layer)
    gamma, beta = layer.gamma if layer.scale else None, layer.beta if layer.center else None
    mean, variance = layer.moving_mean, layer.moving_variance
    epsilon = layer.epsilon

    def run(training: bool, x: Tensor) -> Tensor:
        x = into(x)
        weight = None if gamma is None else gamma.value
        shift = None if beta is None else beta.value
        if not (training and layer.trainable):
            return F.batch_norm(x, mean.value, variance.value, weight, shift, False, 0.0, epsilon)
        y, batch_mean, inverse = torch.native_batch_norm(
            x, weight, shift, None, None, True, 0.0, epsilon
        )
        keep = layer.momentum  # recalibration changes it
        if in_stateless_scope():
            with torch.no_grad():
                now = inverse.pow(-2).sub_(epsilon)
                mean.assign(mean.value * keep + batch_mean * (1 - keep))
                variance.assign(variance.value * keep + now * (1 - keep))
        else:
            move = Move(mean.value, variance.value, batch_mean, inverse)
            _UNDER_WAY.get().add(move, 1 - keep, epsilon)
        return y

    return Made(run, fresh=True)


class Move(NamedTuple):
    """Running statistics, and those of a batch that they come nearer to; each (channels,)."""

    mean: Tensor
    variance: Tensor
    batch_mean: Tensor
    inverse: Tensor  # 1 / sqrt(variance + epsilon)


class Statistics:
    """The moves that batch norm makes in a `with` block, one call of a net or of a layer: made at
    its end, in few calls of PyTorch for all layers."""

    def __init__(self) -> None:
        self.moves: dict[tuple[float, float], dict[int, Move]] = {}

    def __enter__(self) -> None:
        self.outer = _UNDER_WAY.set(self)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        _UNDER_WAY.reset(self.outer)
        if error is None:
            self.settle()

    def add(self, move: Move, share: float, epsilon: float) -> None:
        if id(move.mean) in self.moves.get((share, epsilon), {}):  # a layer that is called twice
            self.settle()
        self.moves.setdefault((share, epsilon), {})[id(move.mean)] = move

    @torch.no_grad()
    def settle(self) -> None:
        made, self.moves = self.moves, {}
        for (share, epsilon), alike in made.items():
            means, variances, batch_means, inverses = map(list, zip(*alike.values(), strict=True))
            torch._foreach_lerp_(means, batch_means, share)
            # biased, as Keras has it; PyTorch's own update would be n / (n - 1) times as large
            now = torch._foreach_pow(inverses, -2)
            torch._foreach_sub_(now, epsilon)
            torch._foreach_lerp_(variances, now, share)


_UNDER_WAY: ContextVar[Statistics] = ContextVar("reslab_statistics")


# What has no weights -----------------------------------------------------------------------------
#
# The gradient of a slice or a mean is new memory in the order of the axes as they were named. So
# those name the channels last: one that lies otherwise is turned again by all that comes after it.


def linear(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[Any, Callable[[Tensor], Tensor]] = {
    keras.activations.linear: linear,
    keras.activations.relu: torch.relu,
    keras.activations.sigmoid: torch.sigmoid,
}


def each(layer: Any, function: Callable[[Tensor], Tensor]) -> Made:
    """A function of each number."""
    into = cast(layer)
    return Made(lambda training, x: function(into(x)), rectifies=function is torch.relu)


@rule_for(layers.Activation)
def _activation(layer: Any) -> Made | None:
    function = ACTIVATIONS.get(layer.activation)
    return None if function is None else each(layer, function)


@rule_for(layers.ReLU)
def _relu(layer: Any) -> Made | None:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        return None
    return each(layer, torch.relu)


@rule_for(layers.Add)
def _add(layer: Any) -> Made:
    return Made(_folded(layer, torch.add), fresh=True, adds=True)


@rule_for(layers.Multiply)
def _multiply(layer: Any) -> Made:
    return Made(_folded(layer, torch.mul))  # the way back asks for what it was made of


def _folded(layer: Any, combine: Callable[[Tensor, Tensor], Tensor]) -> Run:
    into = cast(layer)
    return lambda training, *x: reduce(combine, map(into, x))


@rule_for(layers.ZeroPadding2D)
def _zero_padding(layer: Any) -> Made:
    (top, bottom), (left, right) = layer.padding
    into = cast(layer)
    frame = (top, left) if top == bottom and left == right else None
    return Made(lambda training, x: F.pad(into(x), (left, right, top, bottom)), frame=frame)


@rule_for(layers.MaxPooling2D)
def _max_pool(layer: Any) -> Made | None:
    size, stride, into = tuple(layer.pool_size), tuple(layer.strides), cast(layer)
    if size == (1, 1):
        return Made(lambda training, x: picked(into(x), stride), picks=stride)
    centred = layer.padding == "same" and stride == (1, 1) and all(k % 2 for k in size)
    if layer.padding == "same" and not centred:
        return None
    rows = tuple(k // 2 for k in size) if centred else (0, 0)

    def run(training: bool, x: Tensor, step: tuple[int, int] = stride) -> Tensor:
        return F.max_pool2d(into(x), size, step, rows)

    return Made(run, takes_stride=centred)


@rule_for(layers.AveragePooling2D)
def _average_pool(layer: Any) -> Made:
    size, stride, into = tuple(layer.pool_size), tuple(layer.strides), cast(layer)
    pads = layer.padding == "same"

    def run(training: bool, x: Tensor) -> Tensor:
        # where the sides differ Keras repeats the edge, else what it pads does not count
        x, frame = same(into(x), size, stride, "replicate") if pads else (into(x), (0, 0))
        return F.avg_pool2d(x, size, stride, frame, count_include_pad=False)

    # torch 2.13 takes the gradient of repeated edges for another than it is in memory
    return Made(run, compiles=not pads)


@rule_for(layers.GlobalAveragePooling2D)
def _global_average(layer: Any) -> Made:
    keep, into = layer.keepdims, cast(layer)

    def run(training: bool, x: Tensor) -> Tensor:
        mean = back(into(x)).mean((1, 2), keepdim=keep)
        return turn(mean) if keep else mean

    return Made(run)


@rule_for(layers.Concatenate)
def _concatenate(layer: Any) -> Made:
    into = cast(layer)
    return Made(lambda training, *x: torch.cat([into(one) for one in x], 1))
