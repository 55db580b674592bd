"""Stock layers in PyTorch's fused operations: one rule per kind of layer.

A rule reads a layer once and returns a `TorchOp`, or None if the layer does something that the rule
does not cover. Maps are NCHW here, whatever the layer's `data_format`, in the memory format
channels_last. Variables are read through Keras at every call, so that its scopes can replace them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, NamedTuple

import keras
import torch
import torch.nn.functional as F
from keras import layers
from torch import Tensor

from reslab.acceleration.keras_internals import Functional, in_stateless_scope, kernel_variable
from reslab.acceleration.local_response import recognised
from reslab.acceleration.stock_layers import plain
from reslab.acceleration.torch_memory import store_transposed
from reslab.spec.shapes import same_padding

Run = Callable[..., Tensor]  # (training, *tensors)


@dataclass(frozen=True)
class TorchOp:
    """The function `run(training, *tensors)` of a layer, and how a plan may fuse it."""

    run: Run
    owns_output: bool = False  # its output is new memory that autograd does not read again
    rectifies: bool = False
    adds: bool = False
    padding: tuple[int, int] | None = None  # it only pads both sides with this many zeros ...
    takes_padding: bool = False  # ... which `run` can do itself, given as one more argument
    subsamples: tuple[int, int] | None = None  # it only takes every k-th position ...
    takes_stride: bool = False  # ... which `run` can do itself, given as one more argument
    compiles: bool = True  # torch.compile keeps its result


Rule = Callable[[Any], TorchOp | None]
RULES: dict[type, Rule] = {}


def rule_for(*kinds: type) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def lowered(layer: Any) -> TorchOp | None:
    """Apply the rule for exactly this kind of layer: a subclass may compute something else."""
    rule = RULES.get(type(layer))
    if rule is None or not plain(layer):
        return None
    return rule(layer)


def to_nchw(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def to_nhwc(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def cast(layer: Any) -> Callable[[Tensor], Tensor]:
    """Return a function that casts an input to the dtype in which the layer computes."""
    dtype = getattr(torch, layer.compute_dtype)
    # integers stay, as in Keras
    return lambda x: x.to(dtype) if x.dtype is not dtype and x.is_floating_point() else x


# Convolutions and dense layers ---------------------------------------------------------------


_FEW = 8  # channels: as many as fit in a vector register


@rule_for(layers.Conv2D)
def _conv(layer: Any) -> TorchOp | None:
    activation = ACTIVATIONS.get(layer.activation)
    if activation is None:
        return None
    store_transposed(kernel_variable(layer))
    into = cast(layer)
    bias = layer.bias if layer.use_bias else None
    stride, dilation, groups = layer.strides, layer.dilation_rate, layer.groups
    pads = layer.padding == "same"
    reach = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, dilation, strict=True)]
    # torch 2.13 writes out of bounds in the gradient of such a kernel on processors with only AVX2
    thin = reach == [1, 1] and stride != (1, 1) and layer.kernel.shape[2] < _FEW

    def run(training: bool, x: Tensor, padding: tuple[int, int] = (0, 0)) -> Tensor:
        x, step = into(x), stride
        if pads:
            x, padding = same(x, reach, stride)
        if thin and padding == (0, 0):
            x, step = subsampled(x, stride), (1, 1)
        weight = into(_value(layer.kernel)).permute(3, 2, 0, 1)
        b = None if bias is None else into(bias.value)
        return activation(F.conv2d(x, weight, b, step, padding, dilation, groups))

    # the backward pass of an activation reads its output
    return TorchOp(run, owns_output=activation is linear, takes_padding=not pads)


def subsampled(x: Tensor, stride: tuple[int, int]) -> Tensor:
    """Every k-th position of maps."""
    down, across = stride
    return to_nchw(to_nhwc(x)[:, ::down, ::across])


def same(
    x: Tensor, reach: Sequence[int], stride: tuple[int, int], by: str = "constant"
) -> tuple[Tensor, tuple[int, int]]:
    """Pad for "same", or return what the operation can pad itself: the same on both sides."""
    (top, bottom), (left, right) = (
        same_padding(n, k, s) for n, k, s in zip(x.shape[2:], reach, stride, strict=True)
    )
    if top == bottom and left == right:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom), by), (0, 0)


@rule_for(layers.Dense)
def _dense(layer: Any) -> TorchOp | None:
    activation = ACTIVATIONS.get(layer.activation)
    if activation is None:
        return None
    into = cast(layer)
    bias = layer.bias if layer.use_bias else None

    def run(training: bool, x: Tensor) -> Tensor:
        b = None if bias is None else into(bias.value)
        return activation(F.linear(into(x), into(_value(layer.kernel)).t(), b))

    return TorchOp(run)


def _value(kernel: Any) -> Tensor:
    """The tensor of a variable, or of a kernel that LoRA has added to."""
    return kernel.value if isinstance(kernel, keras.Variable) else kernel


# Batch norm --------------------------------------------------------------------------------------


@rule_for(layers.BatchNormalization)
def _batch_norm(layer: Any) -> TorchOp | None:
    low = layer.compute_dtype != "float32"
    if layer.renorm or layer.synchronized or (low and not (layer.scale and layer.center)):
        return None  # without scale and shift, PyTorch would sum in low precision
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
        momentum = layer.momentum  # recalibration changes it
        if in_stateless_scope():
            with torch.no_grad():
                batch_variance = inverse.pow(-2).sub_(epsilon)
                mean.assign(mean.value * momentum + batch_mean * (1 - momentum))
                variance.assign(variance.value * momentum + batch_variance * (1 - momentum))
        else:
            update = Update(mean.value, variance.value, batch_mean, inverse)
            _STATISTICS.get().add(update, 1 - momentum, epsilon)
        return y

    return TorchOp(run, owns_output=True)


class Update(NamedTuple):
    """Running statistics, and those of the batch; each (channels,)."""

    mean: Tensor
    variance: Tensor
    batch_mean: Tensor
    inverse: Tensor  # 1 / sqrt(batch variance + epsilon)


class Statistics:
    """The updates of running statistics in a `with` block, which is one call of a model or layer.

    They are applied at its end, in a few calls of PyTorch for all layers.
    """

    def __init__(self) -> None:
        self.updates: dict[tuple[float, float], dict[int, Update]] = {}

    def __enter__(self) -> None:
        self.token = _STATISTICS.set(self)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        _STATISTICS.reset(self.token)
        if error is None:
            self.apply()

    def add(self, update: Update, weight: float, epsilon: float) -> None:
        if id(update.mean) in self.updates.get((weight, epsilon), {}):  # a layer called twice
            self.apply()
        self.updates.setdefault((weight, epsilon), {})[id(update.mean)] = update

    @torch.no_grad()
    def apply(self) -> None:
        groups, self.updates = self.updates, {}
        for (weight, epsilon), updates in groups.items():
            columns = zip(*updates.values(), strict=True)
            means, variances, batch_means, inverses = map(list, columns)
            torch._foreach_lerp_(means, batch_means, weight)
            # biased, as in Keras; PyTorch's own update would be n / (n - 1) times as large
            batch_variances = torch._foreach_pow(inverses, -2)
            torch._foreach_sub_(batch_variances, epsilon)
            torch._foreach_lerp_(variances, batch_variances, weight)


_STATISTICS: ContextVar[Statistics] = ContextVar("reslab_statistics")


# Layers without weights --------------------------------------------------------------------------
#
# The gradient of a slice or a mean is new memory in the order of the axes of the operation. So
# these run on NHWC views: a gradient in another memory format is converted in each later step.


def linear(x: Tensor) -> Tensor:
    return x


ACTIVATIONS: dict[Any, Callable[[Tensor], Tensor]] = {
    keras.activations.linear: linear,
    keras.activations.relu: torch.relu,
    keras.activations.sigmoid: torch.sigmoid,
}


def elementwise(layer: Any, function: Callable[[Tensor], Tensor]) -> TorchOp:
    """A function of each element."""
    into = cast(layer)
    return TorchOp(lambda training, x: function(into(x)), rectifies=function is torch.relu)


@rule_for(layers.Activation)
def _activation(layer: Any) -> TorchOp | None:
    function = ACTIVATIONS.get(layer.activation)
    return None if function is None else elementwise(layer, function)


@rule_for(layers.ReLU)
def _relu(layer: Any) -> TorchOp | None:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        return None
    return elementwise(layer, torch.relu)


@rule_for(layers.Add)
def _add(layer: Any) -> TorchOp:
    return TorchOp(_folded(layer, torch.add), owns_output=True, adds=True)


@rule_for(layers.Multiply)
def _multiply(layer: Any) -> TorchOp:
    return TorchOp(_folded(layer, torch.mul))  # its backward pass reads its inputs


def _folded(layer: Any, combine: Callable[[Tensor, Tensor], Tensor]) -> Run:
    into = cast(layer)
    return lambda training, *x: reduce(combine, map(into, x))


@rule_for(layers.ZeroPadding2D)
def _zero_padding(layer: Any) -> TorchOp:
    (top, bottom), (left, right) = layer.padding
    into = cast(layer)
    padding = (top, left) if top == bottom and left == right else None
    return TorchOp(lambda training, x: F.pad(into(x), (left, right, top, bottom)), padding=padding)


@rule_for(layers.MaxPooling2D)
def _max_pool(layer: Any) -> TorchOp | None:
    size, stride, into = tuple(layer.pool_size), tuple(layer.strides), cast(layer)
    if size == (1, 1):
        return TorchOp(lambda training, x: subsampled(into(x), stride), subsamples=stride)
    centred = layer.padding == "same" and stride == (1, 1) and all(k % 2 for k in size)
    if layer.padding == "same" and not centred:
        return None
    rows = tuple(k // 2 for k in size) if centred else (0, 0)

    def run(training: bool, x: Tensor, step: tuple[int, int] = stride) -> Tensor:
        return F.max_pool2d(into(x), size, step, rows)

    return TorchOp(run, takes_stride=centred)


@rule_for(layers.AveragePooling2D)
def _average_pool(layer: Any) -> TorchOp:
    size, stride, into = tuple(layer.pool_size), tuple(layer.strides), cast(layer)
    pads = layer.padding == "same"

    def run(training: bool, x: Tensor) -> Tensor:
        # if the two sides differ, Keras repeats the edge; if not, its padding does not count
        x, padding = same(into(x), size, stride, "replicate") if pads else (into(x), (0, 0))
        return F.avg_pool2d(x, size, stride, padding, count_include_pad=False)

    # torch 2.13 assumes the wrong memory format for the gradient of repeated edges
    return TorchOp(run, compiles=not pads)


@rule_for(layers.GlobalAveragePooling2D)
def _global_average(layer: Any) -> TorchOp:
    keep, into = layer.keepdims, cast(layer)

    def run(training: bool, x: Tensor) -> Tensor:
        mean = to_nhwc(into(x)).mean((1, 2), keepdim=keep)
        return to_nchw(mean) if keep else mean

    return TorchOp(run)


@rule_for(layers.Concatenate)
def _concatenate(layer: Any) -> TorchOp:
    into = cast(layer)
    return TorchOp(lambda training, *x: torch.cat([into(tensor) for tensor in x], 1))


@rule_for(Functional)
def _local_response(layer: Any) -> TorchOp | None:
    norm = recognised(layer)
    if norm is None:
        return None
    nhwc = replace(norm, axis=3)
    dtype = getattr(torch, layer.inputs[0].dtype)
    # its operations are those of Keras, which torch.compile would not keep in one graph
    return TorchOp(lambda training, x: to_nchw(nhwc(to_nhwc(x.to(dtype)))), compiles=False)
