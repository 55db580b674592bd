"""Fold batch norm into the neighbouring convolutions and dense layers.

At inference batch norm computes y = a x + b per channel. After a convolution, a scales the
kernel's output channels and b is added to the bias. Before a convolution without padding, a scales
the kernel's input channels, and the response of the kernel to the constant b is added to the bias.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import activations, layers, tree

from reslab.engines.program import Call, Program, SymbolicTensor, is_a, symbolic_tensors


@dataclass(frozen=True)
class Affine:
    """y = a x + b in float64; `axis` is the channel axis, or None for scalars a and b."""

    a: np.ndarray
    b: np.ndarray
    axis: int | None


def fold(program: Program) -> Program:
    """A program that computes the same function with fewer calls."""
    uses = Counter(v for call in program.calls for v in call.inputs)
    uses.update(symbolic_tensors(program.outputs))
    folded: dict[SymbolicTensor, Call] = {}  # by output, in order of execution
    for call in program.calls:
        call = _fold_backward(call, folded, uses) or _fold_forward(call, folded, uses) or call
        folded[call.output] = call
    return replace(program, calls=tuple(folded.values()))


def affine(call: Call) -> Affine | None:
    """The call as one affine map per channel; None if it computes anything else."""
    op, rank = call.op, len(call.output.shape)
    if is_a(op, layers.BatchNormalization):
        w = {name: value.astype("float64") for name, value in call.weights.items()}
        with np.errstate(invalid="ignore"):  # of a negative variance: NaN, as in Keras
            a = w.get("gamma", 1.0) / np.sqrt(w["moving_variance"] + op.epsilon)
        return Affine(a, w.get("beta", 0.0) - a * w["moving_mean"], op.axis % rank)
    if is_a(op, layers.Rescaling) and np.ndim(op.scale) == np.ndim(op.offset) == 0:
        return Affine(np.asarray(op.scale, "float64"), np.asarray(op.offset, "float64"), None)
    return None


def _fold_backward(
    call: Call, folded: dict[SymbolicTensor, Call], uses: Counter[SymbolicTensor]
) -> Call | None:
    """Fold the batch norm `call` into the linear layer before it, which is returned."""
    norm, before = affine(call), folded.get(call.inputs[0])
    if norm is None or before is None or uses[before.output] > 1 or not is_linear(before):
        return None
    if norm.axis not in (None, channel_axis(before)):
        return None
    del folded[before.output]
    kernel = before.weights["kernel"].astype("float64")
    a = norm.a
    if is_a(before.op, layers.DepthwiseConv2D):  # (h, w, channels, multiplier)
        a = np.broadcast_to(a, kernel.shape[2] * kernel.shape[3]).reshape(kernel.shape[2:])
    bias = norm.a * before.weights.get("bias", 0.0) + norm.b
    return replace(before, output=call.output, weights=_weights(before, kernel * a, bias))


def _fold_forward(
    call: Call, folded: dict[SymbolicTensor, Call], uses: Counter[SymbolicTensor]
) -> Call | None:
    """Fold the batch norm before it into the linear layer `call`, which is returned."""
    if not is_a(call.op, layers.Conv2D, layers.Dense):
        return None
    before = folded.get(call.inputs[0])
    norm = affine(before) if before else None
    if before is None or norm is None or uses[before.output] > 1:
        return None
    if norm.axis not in (None, channel_axis(call)) or not _is_exact(call, bool(norm.b.any())):
        return None
    del folded[before.output]
    kernel = call.weights["kernel"].astype("float64")
    a, b = (np.broadcast_to(x, kernel.shape[-2])[:, None] for x in (norm.a, norm.b))
    bias = (kernel * b).sum(tuple(range(kernel.ndim - 1))) + call.weights.get("bias", 0.0)
    # the norm's other arguments (a mask, for example) do not apply to the convolution
    args, kwargs = tree.map_structure(
        lambda x: before.inputs[0] if x is before.output else x, (call.args, dict(call.kwargs))
    )
    return replace(call, args=args, kwargs=kwargs, weights=_weights(call, kernel * a, bias))


def _weights(call: Call, kernel: np.ndarray, bias: Any) -> dict[str, np.ndarray]:
    channels = channels_out(call, kernel)
    return {
        "kernel": kernel.astype("float32"),
        "bias": np.broadcast_to(bias, channels).astype("float32"),
    }


def channels_out(call: Call, kernel: np.ndarray) -> int:
    """The number of output channels of a convolution or dense layer."""
    depthwise = is_a(call.op, layers.DepthwiseConv2D)
    return kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[-1]


def is_linear(call: Call) -> bool:
    """Whether the call is a convolution or dense layer without an activation function."""
    kinds = layers.Conv2D, layers.DepthwiseConv2D, layers.Dense
    return is_a(call.op, *kinds) and call.op.activation in (None, activations.linear)


def channel_axis(call: Call) -> int:
    """The (non-negative) channel axis of the output of a convolution or dense layer."""
    nchw = getattr(call.op, "data_format", None) == "channels_first"
    return 1 if nchw else len(call.output.shape) - 1


def _is_exact(call: Call, shifts: bool) -> bool:
    """Whether a norm before the linear layer `call` can be folded into it without an error.

    Grouped convolutions are excluded. If the norm shifts its input, zero padding is excluded: the
    padded zeros are not shifted.
    """
    if is_a(call.op, layers.Dense):
        return True
    unpadded = call.op.padding == "valid" or tuple(call.op.kernel_size) == (1, 1)
    return call.op.groups == 1 and (unpadded or not shifts)
