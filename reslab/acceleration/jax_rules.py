"""Convolutions inside JAX's loops, on a CPU.

XLA rewrites the convolutions of both gradients for its fast routine, but not inside a loop, where
they take forty times as long (`bench/convolutions.py`; `bench/depth.py` measures whole networks).
Here the gradients are in a form that needs no rewriting: that of the input is a convolution of the
output's gradient with the flipped and transposed kernel, and that of the kernel is one matrix
product for each of its positions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from keras import layers

from reslab.acceleration.stock_layers import plain

Pads = tuple[tuple[int, int], tuple[int, int]]


def loop_convolution(layer: Any) -> Callable[[Any, Any], Any] | None:
    """Make the function that replaces `layer.convolution_op` in a loop; None if Keras's own stays.

    Repeated units keep the size of their maps, so that only stride 1 is covered.
    """
    stock = type(layer) is layers.Conv2D and plain(layer) and jax.default_backend() == "cpu"
    if not stock or layer.data_format != "channels_last":
        return None
    if (layer.strides, layer.dilation_rate, layer.groups) != ((1, 1), (1, 1), 1):
        return None
    total = [k - 1 if layer.padding == "same" else 0 for k in layer.kernel_size]
    top, left = (n // 2 for n in total)
    pads = (top, total[0] - top), (left, total[1] - left)

    def convolution(x: Any, kernel: Any) -> Any:
        kernel = jnp.asarray(kernel, x.dtype)
        return _convolved(pads, x, kernel)

    return convolution


def _forward(x: Any, kernel: Any, pads: Pads) -> Any:
    order = "NHWC", "HWIO", "NHWC"
    return lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=order)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _convolved(pads: Pads, x: Any, kernel: Any) -> Any:
    """(n, h, w, c) and (k, l, c, o) to (n, h', w', o)."""
    return _forward(x, kernel, pads)


def _forward_rule(pads: Pads, x: Any, kernel: Any) -> tuple[Any, tuple[Any, Any]]:
    return _forward(x, kernel, pads), (x, kernel)


def _backward_rule(pads: Pads, residuals: tuple[Any, Any], dy: Any) -> tuple[Any, Any]:
    x, kernel = residuals
    rows, columns, channels, filters = kernel.shape
    (top, bottom), (left, right) = pads
    flipped = jnp.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
    dy_pads = (rows - 1 - top, rows - 1 - bottom), (columns - 1 - left, columns - 1 - right)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    _, height, width, _ = dy.shape
    flat = dy.reshape(-1, filters)
    positions = [
        padded[:, i : i + height, j : j + width].reshape(-1, channels).T @ flat
        for i in range(rows)
        for j in range(columns)
    ]
    return _forward(dy, flipped, dy_pads), jnp.stack(positions).reshape(kernel.shape)


_convolved.defvjp(_forward_rule, _backward_rule)
