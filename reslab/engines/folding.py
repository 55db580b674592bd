"""Batch norm folded into the convolutions and full connections around it.

At inference batch norm is y = a x + b for each channel. Behind a convolution the a goes into the
kernel's filters and the b into the bias; in front of one that pads nothing, a goes into the
kernel's inputs, and the bias takes the sum over the kernel of what b adds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import activations, layers, tree

from reslab.engines.program import Call, Program, Value, is_a, values


@dataclass(frozen=True)
class Affine:
    """a x + b along an axis, counted from the front; float64. None: the same for all."""

    a: np.ndarray
    b: np.ndarray
    axis: int | None


def fold(program: Program) -> Program:
    """The same function with fewer calls; the program given is left as it is."""
    uses = Counter(v for call in program.calls for v in call.inputs)
    uses.update(values(program.outputs))
    made: dict[Value, Call] = {}  # by output, in order
    for call in program.calls:
        call = _behind(call, made, uses) or _in_front(call, made, uses) or call
        made[call.output] = call
    return replace(program, calls=tuple(made.values()))


def affine(call: Call) -> Affine | None:
    """What a call does to each channel, where that is all that it does."""
    op, rank = call.op, len(call.output.shape)
    if is_a(op, layers.BatchNormalization):
        w = {name: value.astype("float64") for name, value in call.weights.items()}
        a = w.get("gamma", 1.0) / np.sqrt(w["moving_variance"] + op.epsilon)
        return Affine(a, w.get("beta", 0.0) - a * w["moving_mean"], op.axis % rank)
    if is_a(op, layers.Rescaling) and np.ndim(op.scale) == np.ndim(op.offset) == 0:
        return Affine(np.asarray(op.scale, "float64"), np.asarray(op.offset, "float64"), None)
    return None


def _behind(call: Call, made: dict[Value, Call], uses: Counter[Value]) -> Call | None:
    """A convolution that does what the batch norm `call` behind it did as well."""
    norm, before = affine(call), made.get(call.inputs[0])
    if norm is None or before is None or uses[before.output] > 1 or not is_linear(before):
        return None
    if norm.axis not in (None, channel_axis(before)):
        return None
    del made[before.output]
    kernel = before.weights["kernel"].astype("float64")
    a = norm.a
    if is_a(before.op, layers.DepthwiseConv2D):  # (h, w, channels, multiplier)
        a = np.broadcast_to(a, kernel.shape[2] * kernel.shape[3]).reshape(kernel.shape[2:])
    bias = norm.a * before.weights.get("bias", 0.0) + norm.b
    return replace(before, output=call.output, weights=_weights(before, kernel * a, bias))


def _in_front(call: Call, made: dict[Value, Call], uses: Counter[Value]) -> Call | None:
    """The convolution `call`, if it can do what a batch norm in front of it did as well."""
    if not is_a(call.op, layers.Conv2D, layers.Dense):
        return None
    before = made.get(call.inputs[0])
    norm = affine(before) if before else None
    if before is None or norm is None or uses[before.output] > 1:
        return None
    if norm.axis not in (None, channel_axis(call)) or not _meets_all(call, bool(norm.b.any())):
        return None
    del made[before.output]
    kernel = call.weights["kernel"].astype("float64")
    a, b = (np.broadcast_to(x, kernel.shape[-2])[:, None] for x in (norm.a, norm.b))
    bias = (kernel * b).sum(tuple(range(kernel.ndim - 1))) + call.weights.get("bias", 0.0)
    # what else is said at the norm's call (a mask, perhaps) is no business of the convolution
    args, kwargs = tree.map_structure(
        lambda x: before.inputs[0] if x is before.output else x, (call.args, dict(call.kwargs))
    )
    return replace(call, args=args, kwargs=kwargs, weights=_weights(call, kernel * a, bias))


def _weights(call: Call, kernel: np.ndarray, bias: Any) -> dict[str, np.ndarray]:
    width = channels_out(call, kernel)
    return {
        "kernel": kernel.astype("float32"),
        "bias": np.broadcast_to(bias, width).astype("float32"),
    }


def channels_out(call: Call, kernel: np.ndarray) -> int:
    depthwise = is_a(call.op, layers.DepthwiseConv2D)
    return kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[-1]


def is_linear(call: Call) -> bool:
    """Whether it is a convolution or a full connection, and nothing comes after its sum."""
    kinds = layers.Conv2D, layers.DepthwiseConv2D, layers.Dense
    return is_a(call.op, *kinds) and call.op.activation in (None, activations.linear)


def channel_axis(call: Call) -> int:
    """Of a convolution's or full connection's output, counted from the front."""
    first = getattr(call.op, "data_format", None) == "channels_first"
    return 1 if first else len(call.output.shape) - 1


def _meets_all(call: Call, shifts: bool) -> bool:
    """Whether all inputs meet all filters and, where norm shifts them, no padding."""
    if is_a(call.op, layers.Dense):
        return True
    whole = call.op.padding == "valid" or tuple(call.op.kernel_size) == (1, 1)
    return call.op.groups == 1 and (whole or not shifts)
