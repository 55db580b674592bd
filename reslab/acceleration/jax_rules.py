"""Convolutions inside of JAX's loops, on a CPU.

XLA brings the convolutions of both gradients into a form that its fast routine takes, but not
those inside of a loop, which take forty times as long (`bench/convolutions.py`; `bench/depth.py`
has whole nets). Here the gradients are written in forms that need no such help: the input's as a
convolution of the outer gradient with the turned kernel, the kernel's as one matrix product for
each of its places.
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


def loops_convolution(layer: Any) -> Callable[[Any, Any], Any] | None:
    """What to replace `layer.convolution_op` by inside of a loop; None where Keras's own stays.

    Units that repeat keep the size of their maps, so only strides of one are here.
    """
    known = type(layer) is layers.Conv2D and plain(layer) and jax.default_backend() == "cpu"
    if not known or layer.data_format != "channels_last":
        return None
    if (layer.strides, layer.dilation_rate, layer.groups) != ((1, 1), (1, 1), 1):
        return None
    around = [k - 1 if layer.padding == "same" else 0 for k in layer.kernel_size]
    top, left = (n // 2 for n in around)
    pads = (top, around[0] - top), (left, around[1] - left)

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


def _kept(pads: Pads, x: Any, kernel: Any) -> tuple[Any, tuple[Any, Any]]:
    return _forward(x, kernel, pads), (x, kernel)


def _gradients(pads: Pads, kept: tuple[Any, Any], outer: Any) -> tuple[Any, Any]:
    x, kernel = kept
    down, across, channels, out = kernel.shape
    (top, bottom), (left, right) = pads
    turned = jnp.transpose(kernel[::-1, ::-1], (0, 1, 3, 2))
    back = (down - 1 - top, down - 1 - bottom), (across - 1 - left, across - 1 - right)
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    _, height, width, _ = outer.shape
    flat = outer.reshape(-1, out)
    places = [
        padded[:, i : i + height, j : j + width].reshape(-1, channels).T @ flat
        for i in range(down)
        for j in range(across)
    ]
    return _forward(outer, turned, back), jnp.stack(places).reshape(kernel.shape)


_convolved.defvjp(_kept, _gradients)
