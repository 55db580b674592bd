"""What each kind of Keras layer is in plain operations, and with them a whole program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import activations, layers

from reslab.engines.folding import affine
from reslab.engines.graph import Graph
from reslab.engines.lowering import Lowering, Tensor
from reslab.engines.program import Call, Program, Unsupported, is_a, values
from reslab.models.layers import LocalResponseNormalization
from reslab.spec.shapes import same_padding

Rule = Callable[[Lowering, Call, list[Tensor]], Tensor]
RULES: dict[type, Rule] = {}


def lower(program: Program) -> Graph:
    """Raises Unsupported for a layer without a rule, and for what its rule does not cover."""
    made = Lowering()
    shape = program.input.shape
    seen = {program.input: Tensor("images", shape, tuple(range(len(shape))))}
    made.names["images"] += 1
    for call in program.calls:
        rule = next((r for kind, r in RULES.items() if is_a(call.op, kind)), None)
        if rule is None:
            raise Unsupported(str(call))
        out = rule(made, call, [seen[v] for v in call.inputs])
        seen[call.output] = replace(out, shape=call.output.shape) if not out.pads else out
    outputs = {}
    for value in dict.fromkeys(values(program.outputs)):
        name = made.at(seen[value], tuple(range(len(value.shape))))
        outputs[made.add("Identity", name, name="output")] = value.shape
    return made.graph(program.name, "images", shape, outputs)


def rule(*kinds: type) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return register


# Convolutions and full connections ---------------------------------------------------------------


def maps(op: Any) -> tuple[int, ...]:
    """The Keras axes of maps in the order (n, channels, height, width)."""
    return (0, 1, 2, 3) if op.data_format == "channels_first" else (0, 3, 1, 2)


@rule(layers.Conv2D, layers.DepthwiseConv2D)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op, order, kernel = call.op, maps(call.op), call.weights["kernel"]
    groups = getattr(op, "groups", 1)
    if is_a(op, layers.DepthwiseConv2D):  # (h, w, channels, multiplier)
        groups = kernel.shape[2]
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    reach = [(k - 1) * d + 1 for k, d in zip(op.kernel_size, op.dilation_rate, strict=True)]
    name, how = _windows(to, x[0], order, reach, op.strides, op.padding)
    weights = [to.constant(kernel.transpose(3, 2, 0, 1), f"{op.name}/kernel")]
    if "bias" in call.weights:
        weights.append(to.constant(call.weights["bias"], f"{op.name}/bias"))
    how |= {"kernel_shape": op.kernel_size, "dilations": op.dilation_rate, "group": groups}
    out = to.add("Conv", name, *weights, name=op.name, **_ints(how))
    return to.activated(Tensor(out, call.output.shape, order), op.activation, op)


@rule(layers.Dense)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op, rank = call.op, len(call.output.shape)
    axes = tuple(range(rank))
    name = to.at(x[0], axes)
    kernel = to.constant(call.weights["kernel"], f"{op.name}/kernel")
    bias = [to.constant(b, f"{op.name}/bias") for k, b in call.weights.items() if k == "bias"]
    if rank == 2:
        out = to.add("Gemm", name, kernel, *bias, name=op.name)
    else:
        out = to.add("MatMul", name, kernel, name=op.name)
        out = to.add("Add", out, *bias) if bias else out
    return to.activated(Tensor(out, call.output.shape, axes), op.activation, op)


# Pools -------------------------------------------------------------------------------------------


@rule(layers.MaxPooling2D)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op, order, given = call.op, maps(call.op), x[0]
    before = to.ops.get(given.name)
    sparse = not given.pads and given.axes == order and tuple(op.pool_size) == (1, 1)
    if sparse and before and before.kind == "MaxPool" and _is_dense(before):
        # every maximum, then each stride-th: so reslab's rule writes a pool padded with -inf
        how = dict(before.attributes) | {"strides": list(op.strides)}
        out = to.add("MaxPool", *before.inputs, name=op.name, **how)
        return Tensor(out, call.output.shape, order, given.positive)
    takes_pads = given.positive  # zeros and -inf are then the same
    name, how = _windows(to, given, order, op.pool_size, op.strides, op.padding, takes_pads)
    how |= {"kernel_shape": op.pool_size}
    out = to.add("MaxPool", name, name=op.name, **_ints(how))
    return Tensor(out, call.output.shape, order, given.positive)


def _is_dense(op: Any) -> bool:
    how = op.attributes
    halves = [(k - 1) // 2 for k in how["kernel_shape"]]
    odd = all(k % 2 for k in how["kernel_shape"])
    return odd and how["strides"] == [1, 1] and how.get("pads") == [*halves, *halves]


@rule(layers.AveragePooling2D)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op, order = call.op, maps(call.op)
    name, how = _windows(to, x[0], order, op.pool_size, op.strides, op.padding)
    how |= {"kernel_shape": op.pool_size, "count_include_pad": int(op.padding == "valid")}
    out = to.add("AveragePool", name, name=op.name, **_ints(how))
    return Tensor(out, call.output.shape, order, x[0].positive)


@rule(layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op, order = call.op, maps(call.op)
    kind = "GlobalAveragePool" if is_a(op, layers.GlobalAveragePooling2D) else "GlobalMaxPool"
    out = to.add(kind, to.at(x[0], order), name=op.name)
    if op.keepdims:
        return Tensor(out, call.output.shape, order, x[0].positive)
    return Tensor(to.add("Flatten", out, axis=1), call.output.shape, (0, 1), x[0].positive)


@rule(layers.AdaptiveAveragePooling2D)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    """Window i of an axis of n runs from floor(i n / size) to ceil((i + 1) n / size)."""
    order = maps(call.op)
    sizes = [x[0].padded[axis] for axis in order[2:]]
    wanted = [call.output.shape[axis] for axis in order[2:]]
    out = to.at(x[0], order)
    for axis, (n, m) in enumerate(zip(sizes, wanted, strict=True)):
        if n is None or m is None:
            raise Unsupported(f"{call} on maps of open size")
        if n == m:
            continue
        means = np.zeros((m, n))
        for i in range(m):
            start, end = i * n // m, -(-(i + 1) * n // m)
            means[i, start:end] = 1 / (end - start)
        if axis == 0:
            out = to.add("MatMul", to.constant(means), out)
        else:
            out = to.add("MatMul", out, to.constant(means.T))
    return Tensor(out, call.output.shape, order, x[0].positive)


def _windows(
    to: Lowering,
    x: Tensor,
    order: tuple[int, ...],
    reach: Sequence[int],
    strides: Sequence[int],
    padding: str,
    takes_pads: bool = True,
) -> tuple[str, dict[str, Any]]:
    """What windows slide over, and ONNX's attributes for how they do."""
    rows = [x.pads[axis] for axis in order] if x.pads else [(0, 0)] * 4
    how: dict[str, Any] = {"strides": strides}
    if padding == "valid":
        small = all(max(p) < r for p, r in zip(rows[2:], reach, strict=True))
        if takes_pads and small and not any(map(any, rows[:2])):
            x = replace(x, pads=())
        else:
            rows = [(0, 0)] * 4
        return to.at(x, order), how | {"pads": [rows[2][0], rows[3][0], rows[2][1], rows[3][1]]}
    name = to.at(x, order)
    pads: list[tuple[int, int]] = []
    for axis, size, stride in zip(order[2:], reach, strides, strict=True):
        n = x.padded[axis]
        if n is None and stride > 1:
            return name, how | {"auto_pad": "SAME_UPPER"}
        # at stride 1 the size of the maps does not matter
        pads.append(same_padding(n or size, size, stride))
    return name, how | {"pads": [p[0] for p in pads] + [p[1] for p in pads]}


def _ints(attributes: dict[str, Any]) -> dict[str, Any]:
    plain = (int, str)
    return {k: v if isinstance(v, plain) else [int(n) for n in v] for k, v in attributes.items()}


# What changes numbers one by one -----------------------------------------------------------------


@rule(layers.BatchNormalization, layers.Rescaling)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op, given = call.op, x[0]
    rank = len(given.shape)
    norm = affine(call)
    if norm is None:  # a Rescaling with numbers of its own for each channel
        scaled = to.each(given, "Mul", to.like(given, op.scale))
        return to.each(scaled, "Add", to.like(given, op.offset))
    if norm.axis is not None and rank == 4 and given.axes.index(norm.axis) == 1:
        c = len(norm.a)
        numbers = norm.a, norm.b, np.zeros(c), np.ones(c)
        names = [to.constant(n, f"{op.name}/norm") for n in numbers]
        return to.each(given, "BatchNormalization", *names, name=op.name, epsilon=0.0)
    shape = [1] * rank
    if norm.axis is not None:
        shape[norm.axis] = -1
    scaled = to.each(given, "Mul", to.like(given, norm.a.reshape(shape)))
    return to.each(scaled, "Add", to.like(given, norm.b.reshape(shape)), name=op.name)


@rule(layers.Normalization)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op = call.op
    if op.invert or op.mean is None:
        raise Unsupported(f"{call}, which inverts or was not adapted")
    mean, variance = (keras.ops.convert_to_numpy(n) for n in (op.mean, op.variance))
    deviation = np.maximum(np.sqrt(variance), np.float32(keras.config.epsilon()))
    shifted = to.each(x[0], "Sub", to.like(x[0], mean))
    return to.each(shifted, "Div", to.like(x[0], deviation))


@rule(layers.Activation)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    return to.activated(x[0], call.op.activation, call.op)


@rule(layers.ReLU)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op = call.op
    if op.negative_slope or op.threshold or op.max_value not in (None, 6):
        raise Unsupported(f"{call} with a slope, a threshold or another maximum than 6")
    return to.activated(x[0], activations.relu if op.max_value is None else activations.relu6, op)


@rule(layers.Softmax)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    if call.op.axis not in (-1, len(x[0].shape) - 1) or len(call.inputs) > 1:
        raise Unsupported(f"{call} over other axes than the last")
    return to.activated(x[0], activations.softmax, call.op)


@rule(LocalResponseNormalization)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    op = call.op
    if op.size % 2 == 0:  # ONNX begins half a channel later
        raise Unsupported(f"{call} over an even number of channels")
    how = {"size": op.size, "alpha": op.alpha * op.size, "beta": op.beta, "bias": op.k}
    out = to.add("LRN", to.at(x[0], maps(op)), name=op.name, **how)
    return Tensor(out, call.output.shape, maps(op), x[0].positive)


# What joins, turns and pads ----------------------------------------------------------------------


@rule(layers.Add, layers.Subtract, layers.Multiply)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    kinds = {layers.Add: "Add", layers.Subtract: "Sub", layers.Multiply: "Mul"}
    kind = next(word for layer, word in kinds.items() if is_a(call.op, layer))
    if len({len(t.shape) for t in x}) > 1:
        raise Unsupported(f"{call} of arrays with different numbers of axes")
    axes = next((t.axes for t in x if t.axes != tuple(range(len(t.axes)))), x[0].axes)
    out, *rest = (to.at(t, axes) for t in x)
    for other in rest:
        out = to.add(kind, out, other, name=call.op.name)
    positive = kind != "Sub" and all(t.positive for t in x)
    return Tensor(out, call.output.shape, axes, positive)


@rule(layers.Concatenate)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    axes = next((t.axes for t in x if t.axes != tuple(range(len(t.axes)))), x[0].axes)
    axis = axes.index(call.op.axis % len(axes))
    out = to.add("Concat", *(to.at(t, axes) for t in x), name=call.op.name, axis=axis)
    return Tensor(out, call.output.shape, axes, all(t.positive for t in x))


@rule(layers.ZeroPadding2D)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    given, (rows, columns) = x[0], call.op.padding
    first = call.op.data_format == "channels_first"
    more = ((0, 0), (0, 0), rows, columns) if first else ((0, 0), rows, columns, (0, 0))
    pads = tuple(
        (a[0] + b[0], a[1] + b[1]) for a, b in zip(given.pads or [(0, 0)] * 4, more, strict=True)
    )
    return replace(given, pads=pads)


@rule(layers.Permute)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    turn = (0, *call.op.dims)
    pads = tuple(x[0].pads[axis] for axis in turn) if x[0].pads else ()
    axes = tuple(turn.index(axis) for axis in x[0].axes)
    shape = tuple(x[0].shape[axis] for axis in turn)
    return replace(x[0], axes=axes, pads=pads, shape=shape)


@rule(layers.Flatten)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    rank = len(x[0].shape)
    first = call.op.data_format == "channels_first" and rank > 2
    order = (0, *range(2, rank), 1) if first else tuple(range(rank))
    out = to.add("Flatten", to.at(x[0], order), axis=1, name=call.op.name)
    return Tensor(out, call.output.shape, (0, 1), x[0].positive)


@rule(layers.Reshape)
def _(to: Lowering, call: Call, x: list[Tensor]) -> Tensor:
    shape = call.output.shape[1:]
    if None in shape:
        raise Unsupported(f"{call} to an open size")
    target = to.constant([0, *shape], "shape", "int64")  # 0: as it is
    out = to.add("Reshape", to.at(x[0], tuple(range(len(x[0].shape)))), target)
    return Tensor(out, call.output.shape, tuple(range(len(shape) + 1)), x[0].positive)
