"""What each stock layer does, in PyTorch's fused operations: one rule per kind of layer.

A rule looks at a layer once and gives a function from tensors to a tensor, or None where the
layer does something that it does not know. Maps are (n, c, h, w) in PyTorch's order of axes here,
whatever the layer's `data_format`, and lie in memory as channels_last. Variables are read through
Keras at every call, so that its scopes can stand others in for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import torch
import torch.nn.functional as F
from keras import layers
from keras.src.backend.common.stateless_scope import in_stateless_scope
from torch import Tensor

from reslab.fast.storage import store_turned

Run = Callable[..., Tensor]  # (training, *tensors)
Rule = Callable[[Any], Run | None]

RULES: dict[type, Rule] = {}


def rule_for(*kinds: type) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, rule))
        return rule

    return register


def run_of(layer: Any) -> Run | None:
    """The rule's function for exactly this kind of layer: a subclass may do otherwise."""
    rule = RULES.get(type(layer))
    if rule is None or not plain(layer):
        return None
    return rule(layer)


def plain(layer: Any) -> bool:
    """Nothing about the layer goes beyond what its kind does."""
    unusual = (
        getattr(layer, "activity_regularizer", None),
        getattr(layer, "quantization_mode", None),
        getattr(layer, "_remat_mode", None),
        getattr(layer, "lora_enabled", False),
        getattr(layer, "_forward_hooks", None),
        getattr(layer, "_forward_pre_hooks", None),
    )
    return layer.built and not any(unusual)


def cast(layer: Any) -> Callable[[Tensor], Tensor]:
    """Brings what comes in to the precision in which the layer computes."""
    dtype = getattr(torch, layer.compute_dtype)
    return lambda x: x if x.dtype is dtype else x.to(dtype)


# Convolutions and full connections ---------------------------------------------------------------


@rule_for(layers.Conv2D)
def _conv(layer: Any) -> Run | None:
    activation = ACTIVATIONS.get(layer.activation)
    if activation is None:
        return None
    store_turned(layer._kernel)
    into = cast(layer)
    bias = layer.bias if layer.use_bias else None
    stride, dilation, groups = layer.strides, layer.dilation_rate, layer.groups
    pads = same if layer.padding == "same" else valid
    reach = [(k - 1) * d + 1 for k, d in zip(layer.kernel_size, dilation, strict=True)]

    def run(training: bool, x: Tensor, padding: tuple[int, int] | None = None) -> Tensor:
        x = into(x)
        if padding is None:
            x, padding = pads(x, reach, stride)
        weight = into(_value(layer.kernel)).permute(3, 2, 0, 1)
        b = None if bias is None else into(bias.value)
        y = F.conv2d(x, weight, b, stride, padding, dilation, groups)
        return activation(y)

    run.pads = layer.padding == "valid"  # type: ignore[attr-defined]
    return run


def valid(x: Tensor, reach: list[int], stride: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    return x, (0, 0)


def same(x: Tensor, reach: list[int], stride: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """TensorFlow's padding: where the rows to add are odd in number, the last one is behind."""
    (top, bottom), (left, right) = (
        _before_and_behind(n, k, s) for n, k, s in zip(x.shape[2:], reach, stride, strict=True)
    )
    if top == bottom and left == right:
        return x, (top, left)
    return F.pad(x, (left, right, top, bottom)), (0, 0)


def _before_and_behind(size: int, reach: int, stride: int) -> tuple[int, int]:
    more = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return more // 2, more - more // 2


@rule_for(layers.Dense)
def _dense(layer: Any) -> Run | None:
    activation = ACTIVATIONS.get(layer.activation)
    if activation is None:
        return None
    into = cast(layer)
    bias = layer.bias if layer.use_bias else None

    def run(training: bool, x: Tensor) -> Tensor:
        b = None if bias is None else into(bias.value)
        return activation(F.linear(into(x), into(_value(layer.kernel)).t(), b))

    return run


def _value(kernel: Any) -> Tensor:
    """Of a variable, or of what LoRA makes of one."""
    return kernel.value if isinstance(kernel, keras.Variable) else kernel


# Batch norm --------------------------------------------------------------------------------------


@rule_for(layers.BatchNormalization)
def _batch_norm(layer: Any) -> Run | None:
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
        with torch.no_grad():
            # biased, as Keras has it; PyTorch's own update would be n / (n - 1) times as large
            batch_variance = inverse.pow(-2).sub_(epsilon)
            if in_stateless_scope():
                mean.assign(mean.value * keep + batch_mean * (1 - keep))
                variance.assign(variance.value * keep + batch_variance * (1 - keep))
            else:
                mean.value.lerp_(batch_mean, 1 - keep)
                variance.value.lerp_(batch_variance, 1 - keep)
        return y

    return run


# What has no weights -----------------------------------------------------------------------------

ACTIVATIONS: dict[Any, Callable[[Tensor], Tensor]] = {
    keras.activations.linear: lambda x: x,
    keras.activations.relu: torch.relu,
    keras.activations.sigmoid: torch.sigmoid,
}


@rule_for(layers.Activation)
def _activation(layer: Any) -> Run | None:
    function, into = ACTIVATIONS.get(layer.activation), cast(layer)
    if function is None:
        return None
    run = lambda training, x: function(into(x))  # noqa: E731
    run.rectifies = function is torch.relu  # type: ignore[attr-defined]
    return run


@rule_for(layers.ReLU)
def _relu(layer: Any) -> Run | None:
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        return None
    into = cast(layer)
    run = lambda training, x: torch.relu(into(x))  # noqa: E731
    run.rectifies = True  # type: ignore[attr-defined]
    return run


@rule_for(layers.Add)
def _add(layer: Any) -> Run:
    into = cast(layer)

    def run(training: bool, first: Tensor, *others: Tensor) -> Tensor:
        total = into(first)
        for x in others:
            total = total + into(x)
        return total

    run.adds = True  # type: ignore[attr-defined]
    return run


@rule_for(layers.ZeroPadding2D)
def _zero_padding(layer: Any) -> Run:
    (top, bottom), (left, right) = layer.padding
    into = cast(layer)
    run = lambda training, x: F.pad(into(x), (left, right, top, bottom))  # noqa: E731
    if top == bottom and left == right:
        run.frame = (top, left)  # type: ignore[attr-defined]
    return run


@rule_for(layers.MaxPooling2D)
def _max_pool(layer: Any) -> Run | None:
    size, stride, into = layer.pool_size, layer.strides, cast(layer)
    if tuple(size) == (1, 1):
        down, across = stride
        pick = lambda training, x: into(x)[:, :, ::down, ::across]  # noqa: E731
        pick.picks = tuple(stride)  # type: ignore[attr-defined]
        return pick
    centred = layer.padding == "same" and tuple(stride) == (1, 1) and all(k % 2 for k in size)
    if layer.padding == "same" and not centred:
        return None
    rows = tuple(k // 2 for k in size) if centred else (0, 0)

    def run(training: bool, x: Tensor, step: tuple[int, int] = stride) -> Tensor:
        return F.max_pool2d(into(x), size, step, rows)

    run.dense = centred  # type: ignore[attr-defined]
    return run


@rule_for(layers.GlobalAveragePooling2D)
def _global_average(layer: Any) -> Run:
    keep, into = layer.keepdims, cast(layer)
    return lambda training, x: into(x).mean((2, 3), keepdim=keep)


@rule_for(layers.Concatenate)
def _concatenate(layer: Any) -> Run | None:
    into = cast(layer)
    run = lambda training, *x: torch.cat([into(each) for each in x], 1)  # noqa: E731
    run.axis = layer.axis  # type: ignore[attr-defined]
    return run
