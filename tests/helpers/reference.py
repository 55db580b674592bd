"""A forward pass in NumPy, written from the definitions in the papers. It uses only `walk`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from reslab.models.build import variables
from reslab.spec import (
    BN,
    LRN,
    Activation,
    AdaptiveAvgPool,
    Add,
    AvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Gate,
    GlobalAverage,
    Join,
    Layer,
    MaxPool,
    Multiply,
    Scale,
    StochasticDepth,
    ZeroPadShortcut,
)


def randomise(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Set all weights and running statistics to random numbers, and return them."""
    rng = np.random.default_rng(seed)
    values = {}
    for path, variable in variables(model).items():
        if path.endswith("seed_generator_state"):
            continue
        shape = tuple(variable.shape)
        if path.endswith(("variance", "gamma")):
            value = rng.uniform(0.5, 1.5, shape)
        else:
            fan = np.prod(shape[:-1]) if len(shape) > 1 else 4
            value = rng.normal(0, 1 / np.sqrt(fan), shape)
        values[path] = value.astype("float32")
        variable.assign(values[path])
    return values


def forward(layers: Sequence[Layer], values: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the outputs (float64) of the last layer for images x (n, h, w, c), at inference."""
    outputs = {"": x.astype("float64")}
    for layer in layers:
        arrays = {name: values[f"{layer.path}/{name}"] for name in {**layer.weights, **layer.state}}
        inputs = [outputs[name] for name in layer.inputs]
        outputs[layer.path] = _apply(layer.part, inputs, arrays)
    return outputs[layers[-1].path]


def _apply(part: object, inputs: list[np.ndarray], w: Mapping[str, np.ndarray]) -> np.ndarray:
    x = inputs[0]
    match part:
        case Conv():
            return _conv(part, x, w["kernel"].astype("float64")) + w.get("bias", 0)
        case BN():
            shape = [1] * x.ndim
            axis = 2 if part.over == "width" else x.ndim - 1
            shape[axis] = x.shape[axis]
            g, b, m, v = (
                w[k].reshape(shape) for k in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            return (x - m) / np.sqrt(v.astype("float64") + part.epsilon) * g + b
        case Activation(function="relu"):
            return np.maximum(x, 0)
        case Activation(function="sigmoid"):
            return _sigmoid(x)
        case Scale():
            return part.factor * x
        case LRN():
            return _response_norm(part, x)
        case MaxPool():
            fill = 0 if part.fill == "0" else -np.inf
            return _windows(x, part.size, part.stride, part.pad, fill).max((3, 4))
        case AvgPool():
            if part.pad == "same":  # TensorFlow's mean excludes padding
                return np.nanmean(_windows(x, part.size, part.stride, "same", np.nan), (3, 4))
            return _windows(x, part.size, part.stride, part.pad, 0).mean((3, 4))
        case GlobalAverage():
            return x.mean((1, 2), keepdims=part.keep)
        case AdaptiveAvgPool():
            return _adaptive(x, part.size)
        case Flatten():
            x = x.transpose(0, 3, 1, 2) if part.order == "chw" else x
            return x.reshape(len(x), -1)
        case Dense():
            return x @ w["kernel"].astype("float64") + w.get("bias", 0)
        case Dropout() | StochasticDepth():
            return x
        case ZeroPadShortcut():
            x = x[:, :: part.stride, :: part.stride]
            return np.pad(x, ((0, 0),) * 3 + ((0, part.channels - x.shape[-1]),))
        case Add():
            return inputs[0] + inputs[1]
        case Multiply():
            return inputs[0] * inputs[1]
        case Gate():
            body, shortcut = inputs
            g = _sigmoid(shortcut @ w["kernel"][0, 0].astype("float64") + w["bias"])
            return (g * body if part.of == "exclusive" else body) + (1 - g) * shortcut
        case Join():
            return np.concatenate(inputs, -1)
    raise AssertionError(f"the reference has no rule for {part}")


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _response_norm(part: LRN, x: np.ndarray) -> np.ndarray:
    """Krizhevsky 2012, Sec. 3.3, one channel at a time."""
    out, n = np.empty_like(x), x.shape[-1]
    for i in range(n):
        low, high = max(0, i - part.size // 2), min(n - 1, i + part.size // 2)
        total = (x[..., low : high + 1] ** 2).sum(-1)
        out[..., i] = x[..., i] / (part.k + part.alpha * total) ** part.beta
    return out


def _adaptive(x: np.ndarray, size: int) -> np.ndarray:
    """Window i of an axis of length n is floor(i n / size) to ceil((i + 1) n / size)."""
    out = np.empty((len(x), size, size, x.shape[-1]))
    ends = [[(i * n // size, -(-(i + 1) * n // size)) for i in range(size)] for n in x.shape[1:3]]
    for i, (top, bottom) in enumerate(ends[0]):
        for j, (left, right) in enumerate(ends[1]):
            out[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    return out


def _conv(part: Conv, x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    windows = _windows(x, part.reach, part.stride, part.pad, 0)
    windows = windows[:, :, :, :: part.dilation, :: part.dilation]
    groups = []
    each_in, each_out = kernel.shape[2], part.filters // part.groups
    for g in range(part.groups):
        group = windows[..., g * each_in : (g + 1) * each_in]
        groups.append(
            np.einsum(
                "nhwijc,ijco->nhwo",
                group,
                kernel[..., g * each_out : (g + 1) * each_out],
                optimize=True,
            )
        )
    return np.concatenate(groups, -1)


def _windows(x: np.ndarray, size: int, stride: int, pad: int | str, fill: float) -> np.ndarray:
    """(n, h', w', size, size, c)."""
    sides = [(0, 0)]
    for n in x.shape[1:3]:
        if pad == "same":
            total = max((-(-n // stride) - 1) * stride + size - n, 0)
            sides.append((total // 2, total - total // 2))
        elif pad == "ceil":
            out = -(-(n - size) // stride) + 1
            sides.append((0, (out - 1) * stride + size - n))
        else:
            rows = (size - 1) // 2 if pad == "even" else int(pad)
            sides.append((rows, rows))
    padded = np.pad(x, [*sides, (0, 0)], constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))
    return view[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
