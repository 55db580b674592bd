"""How each kind of Keras layer, and with them a whole program, becomes graph operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import activations, layers

from reslab.acceleration.local_response import recognised
from reslab.engines.folding import affine
from reslab.engines.graph import Graph
from reslab.engines.lowering import LoweredTensor, Lowering
from reslab.engines.program import Call, Program, Unsupported, is_a, symbolic_tensors
from reslab.models.layers import LocalResponseNormalization
from reslab.spec.shapes import same_padding

Rule = Callable[[Lowering, Call, list[LoweredTensor]], LoweredTensor]
RULES: dict[type, Rule] = {}


def lower(program: Program) -> Graph:
    """The graph of a program.

    Raises Unsupported for a layer without a rule, or with settings that its rule does not cover.
    """
    graph = Lowering()
    inputs = {graph.unique_name(name): x for name, x in program.inputs.items()}
    lowered = {
        x: LoweredTensor(name, x.shape, tuple(range(len(x.shape)))) for name, x in inputs.items()
    }
    for call in program.calls:
        rule = next((r for kind, r in RULES.items() if is_a(call.op, kind)), None)
        if rule is None:
            raise Unsupported(str(call))
        out = rule(graph, call, [lowered[x] for x in call.inputs])
        lowered[call.output] = replace(out, shape=call.output.shape) if not out.pads else out
    outputs = {}
    for output in dict.fromkeys(symbolic_tensors(program.outputs)):
        name = graph.transpose(lowered[output], tuple(range(len(output.shape))))
        outputs[graph.add("Identity", name, name="output")] = output.shape
    shapes = {name: x.shape for name, x in inputs.items()}
    return graph.graph(program.name, shapes, outputs)


def rule(*kinds: type) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


# Convolutions and dense layers -------------------------------------------------------------------


def nchw(op: Any) -> tuple[int, ...]:
    """The axes of the layer's Keras tensors that are n, channels, height and width."""
    return (0, 1, 2, 3) if op.data_format == "channels_first" else (0, 3, 1, 2)


@rule(layers.Conv2D, layers.DepthwiseConv2D)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    op, order, kernel = call.op, nchw(call.op), call.weights["kernel"]
    groups = getattr(op, "groups", 1)
    if is_a(op, layers.DepthwiseConv2D):  # (h, w, channels, multiplier)
        groups = kernel.shape[2]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    sizes = [(k - 1) * d + 1 for k, d in zip(op.kernel_size, op.dilation_rate, strict=True)]
    name, attributes = _windows(graph, x[0], order, sizes, op.strides, op.padding)
    weights = [graph.constant(kernel.transpose(3, 2, 0, 1), f"{op.name}/kernel")]
    if "bias" in call.weights:
        weights.append(graph.constant(call.weights["bias"], f"{op.name}/bias"))
    attributes |= {"kernel_shape": op.kernel_size, "dilations": op.dilation_rate, "group": groups}
    out = graph.add("Conv", name, *weights, name=op.name, **_ints(attributes))
    return graph.activation(LoweredTensor(out, call.output.shape, order), op.activation, op)


@rule(layers.Dense)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    op, rank = call.op, len(call.output.shape)
    axes = tuple(range(rank))
    name = graph.transpose(x[0], axes)
    kernel = graph.constant(call.weights["kernel"], f"{op.name}/kernel")
    bias = [graph.constant(b, f"{op.name}/bias") for k, b in call.weights.items() if k == "bias"]
    if rank == 2:
        out = graph.add("Gemm", name, kernel, *bias, name=op.name)
    else:
        out = graph.add("MatMul", name, kernel, name=op.name)
        out = graph.add("Add", out, *bias) if bias else out
    return graph.activation(LoweredTensor(out, call.output.shape, axes), op.activation, op)


# Pools -------------------------------------------------------------------------------------------


@rule(layers.MaxPooling2D)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    op, order, source = call.op, nchw(call.op), x[0]
    before = graph.ops.get(source.name)
    subsamples = not source.pads and source.axes == order and tuple(op.pool_size) == (1, 1)
    if subsamples and before and before.kind == "MaxPool" and _is_stride_1(before):
        # a pool of stride 1, then every k-th value: reslab's rule for a pool padded with -inf
        attributes = dict(before.attributes) | {"strides": list(op.strides)}
        out = graph.add("MaxPool", *before.inputs, name=op.name, **attributes)
        return LoweredTensor(out, call.output.shape, order, source.positive)
    absorbs_pads = source.positive  # padding with zeros then equals padding with -inf
    name, attributes = _windows(
        graph, source, order, op.pool_size, op.strides, op.padding, absorbs_pads
    )
    attributes |= {"kernel_shape": op.pool_size}
    out = graph.add("MaxPool", name, name=op.name, **_ints(attributes))
    return LoweredTensor(out, call.output.shape, order, source.positive)


def _is_stride_1(op: Any) -> bool:
    """Whether a max pool has stride 1 and even padding, so that its maps keep their size."""
    attributes = op.attributes
    halves = [(k - 1) // 2 for k in attributes["kernel_shape"]]
    odd = all(k % 2 for k in attributes["kernel_shape"])
    return odd and attributes["strides"] == [1, 1] and attributes.get("pads") == [*halves, *halves]


@rule(layers.AveragePooling2D)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    op, order = call.op, nchw(call.op)
    name, attributes = _windows(graph, x[0], order, op.pool_size, op.strides, op.padding)
    attributes |= {"kernel_shape": op.pool_size, "count_include_pad": int(op.padding == "valid")}
    out = graph.add("AveragePool", name, name=op.name, **_ints(attributes))
    return LoweredTensor(out, call.output.shape, order, x[0].positive)


@rule(layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    op, order = call.op, nchw(call.op)
    kind = "GlobalAveragePool" if is_a(op, layers.GlobalAveragePooling2D) else "GlobalMaxPool"
    out = graph.add(kind, graph.transpose(x[0], order), name=op.name)
    if op.keepdims:
        return LoweredTensor(out, call.output.shape, order, x[0].positive)
    return LoweredTensor(
        graph.add("Flatten", out, axis=1), call.output.shape, (0, 1), x[0].positive
    )


@rule(layers.AdaptiveAveragePooling2D)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    """Window i of an axis of size n covers floor(i n / size) to ceil((i + 1) n / size)."""
    order = nchw(call.op)
    sizes = [x[0].padded_shape[axis] for axis in order[2:]]
    wanted = [call.output.shape[axis] for axis in order[2:]]
    out = graph.transpose(x[0], order)
    for axis, (n, m) in enumerate(zip(sizes, wanted, strict=True)):
        if n is None or m is None:
            raise Unsupported(f"{call} on feature maps of unknown size")
        if n == m:
            continue
        means = np.zeros((m, n))
        for i in range(m):
            start, end = i * n // m, -(-(i + 1) * n // m)
            means[i, start:end] = 1 / (end - start)
        if axis == 0:
            out = graph.add("MatMul", graph.constant(means), out)
        else:
            out = graph.add("MatMul", out, graph.constant(means.T))
    return LoweredTensor(out, call.output.shape, order, x[0].positive)


def _windows(
    graph: Lowering,
    x: LoweredTensor,
    order: tuple[int, ...],
    sizes: Sequence[int],
    strides: Sequence[int],
    padding: str,
    absorbs_pads: bool = True,
) -> tuple[str, dict[str, Any]]:
    """The input of a convolution or pool, and its ONNX attributes for strides and padding.

    `sizes` are the extents of a window along height and width. Deferred padding moves into the
    attributes where the operation can absorb it.
    """
    deferred = [x.pads[axis] for axis in order] if x.pads else [(0, 0)] * 4
    attributes: dict[str, Any] = {"strides": strides}
    if padding == "valid":
        small = all(max(p) < size for p, size in zip(deferred[2:], sizes, strict=True))
        if absorbs_pads and small and not any(map(any, deferred[:2])):
            x = replace(x, pads=())
        else:
            deferred = [(0, 0)] * 4
        height, width = deferred[2:]
        attributes["pads"] = [height[0], width[0], height[1], width[1]]
        return graph.transpose(x, order), attributes
    name = graph.transpose(x, order)
    pads: list[tuple[int, int]] = []
    for axis, size, stride in zip(order[2:], sizes, strides, strict=True):
        n = x.padded_shape[axis]
        if n is None and stride > 1:
            return name, attributes | {"auto_pad": "SAME_UPPER"}
        # at stride 1 the padding does not depend on the size of the maps
        pads.append(same_padding(n or size, size, stride))
    return name, attributes | {"pads": [p[0] for p in pads] + [p[1] for p in pads]}


def _ints(attributes: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, int | str) else [int(n) for n in value]
        for name, value in attributes.items()
    }


# Elementwise layers ------------------------------------------------------------------------------


@rule(layers.BatchNormalization, layers.Rescaling)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    op, source = call.op, x[0]
    rank = len(source.shape)
    norm = affine(call)
    if norm is None:  # a Rescaling with one scale per channel
        scaled = graph.elementwise(source, "Mul", graph.constant_like(source, op.scale))
        return graph.elementwise(scaled, "Add", graph.constant_like(source, op.offset))
    if norm.axis is not None and rank == 4 and source.axes.index(norm.axis) == 1:
        channels = len(norm.a)
        parameters = norm.a, norm.b, np.zeros(channels), np.ones(channels)
        names = [graph.constant(p, f"{op.name}/norm") for p in parameters]
        return graph.elementwise(source, "BatchNormalization", *names, name=op.name, epsilon=0.0)
    shape = [1] * rank
    if norm.axis is not None:
        shape[norm.axis] = -1
    scaled = graph.elementwise(source, "Mul", graph.constant_like(source, norm.a.reshape(shape)))
    return graph.elementwise(
        scaled, "Add", graph.constant_like(source, norm.b.reshape(shape)), name=op.name
    )


@rule(layers.Normalization)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    op = call.op
    if op.invert or op.mean is None:
        raise Unsupported(f"{call}, which is inverted or not adapted")
    mean, variance = (keras.ops.convert_to_numpy(n) for n in (op.mean, op.variance))
    std = np.maximum(np.sqrt(variance), np.float32(keras.config.epsilon()))
    shifted = graph.elementwise(x[0], "Sub", graph.constant_like(x[0], mean))
    return graph.elementwise(shifted, "Div", graph.constant_like(x[0], std))


@rule(layers.Activation)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    return graph.activation(x[0], call.op.activation, call.op)


@rule(layers.ReLU)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    op = call.op
    if op.negative_slope or op.threshold or op.max_value not in (None, 6):
        raise Unsupported(f"{call} with a slope, a threshold or a maximum other than 6")
    return graph.activation(
        x[0], activations.relu if op.max_value is None else activations.relu6, op
    )


@rule(layers.Softmax)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    if call.op.axis not in (-1, len(x[0].shape) - 1) or len(call.inputs) > 1:
        raise Unsupported(f"{call} over an axis other than the last")
    return graph.activation(x[0], activations.softmax, call.op)


@rule(keras.Model, LocalResponseNormalization)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    norm = recognised(call.op) or call.op.as_operations()
    if norm.size % 2 == 0 or norm.k < 0:  # ONNX centres an even window differently
        raise Unsupported(f"{call} over an even number of channels, or with a negative constant")
    # OpenVINO 2026.4 drops the fraction of k: x / (k + a s)^b = x / (1 + a / k s)^b / k^b
    divisor = 1.0 if norm.k == round(norm.k) else norm.k
    attributes = {"size": norm.size, "alpha": norm.alpha * norm.size / divisor}
    attributes |= {"beta": norm.beta, "bias": norm.k / divisor}
    order = (0, 1, 2, 3) if norm.axis == 1 else (0, 3, 1, 2)
    out = graph.add("LRN", graph.transpose(x[0], order), name=call.op.name, **attributes)
    if divisor != 1:
        out = graph.add("Mul", out, graph.constant(divisor**-norm.beta), name=call.op.name)
    return LoweredTensor(out, call.output.shape, order, x[0].positive)


# Merging, transposing and padding ----------------------------------------------------------------


@rule(layers.Add, layers.Subtract, layers.Multiply)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    kinds = {layers.Add: "Add", layers.Subtract: "Sub", layers.Multiply: "Mul"}
    kind = next(kind for layer, kind in kinds.items() if is_a(call.op, layer))
    if len({len(t.shape) for t in x}) > 1:
        raise Unsupported(f"{call} of tensors with different ranks")
    axes = next((t.axes for t in x if t.axes != tuple(range(len(t.axes)))), x[0].axes)
    out, *rest = (graph.transpose(t, axes) for t in x)
    for other in rest:
        out = graph.add(kind, out, other, name=call.op.name)
    positive = kind != "Sub" and all(t.positive for t in x)
    return LoweredTensor(out, call.output.shape, axes, positive)


@rule(layers.Concatenate)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    axes = next((t.axes for t in x if t.axes != tuple(range(len(t.axes)))), x[0].axes)
    axis = axes.index(call.op.axis % len(axes))
    out = graph.add("Concat", *(graph.transpose(t, axes) for t in x), name=call.op.name, axis=axis)
    return LoweredTensor(out, call.output.shape, axes, all(t.positive for t in x))


@rule(layers.ZeroPadding2D)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    source, (height, width) = x[0], call.op.padding
    channels_first = call.op.data_format == "channels_first"
    zero = 0, 0
    added = (zero, zero, height, width) if channels_first else (zero, height, width, zero)
    pads = tuple(
        (a[0] + b[0], a[1] + b[1]) for a, b in zip(source.pads or [zero] * 4, added, strict=True)
    )
    return replace(source, pads=pads)


@rule(layers.Permute)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    perm = (0, *call.op.dims)
    pads = tuple(x[0].pads[axis] for axis in perm) if x[0].pads else ()
    axes = tuple(perm.index(axis) for axis in x[0].axes)
    shape = tuple(x[0].shape[axis] for axis in perm)
    return replace(x[0], axes=axes, pads=pads, shape=shape)


@rule(layers.Flatten)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    rank = len(x[0].shape)
    channels_first = call.op.data_format == "channels_first" and rank > 2
    order = (0, *range(2, rank), 1) if channels_first else tuple(range(rank))
    out = graph.add("Flatten", graph.transpose(x[0], order), axis=1, name=call.op.name)
    return LoweredTensor(out, call.output.shape, (0, 1), x[0].positive)


@rule(layers.Reshape)
def _(graph: Lowering, call: Call, x: list[LoweredTensor]) -> LoweredTensor:
    shape = call.output.shape[1:]
    if None in shape:
        raise Unsupported(f"{call} to an unknown size")
    target = graph.constant([0, *shape], "shape", "int64")  # 0 keeps the batch size
    out = graph.add("Reshape", graph.transpose(x[0], tuple(range(len(x[0].shape)))), target)
    return LoweredTensor(out, call.output.shape, tuple(range(len(shape) + 1)), x[0].positive)
