"""Weights for another number of image channels: grey images and RGB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reslab.spec import Conv, Layer
from reslab.weights.match import Fit

GREY, RGB = 1, 3


def adapted(fit: Fit, layers: Sequence[Layer]) -> tuple[Fit, list[str]]:
    """The fit with the first convolutions adapted to the channels of the network's images.

    As timm does: for grey images the kernels of the three channels are summed, which is the same
    as three equal channels. For RGB the kernel is repeated and divided by 3.

    Returns:
        The fit, and a sentence if it was adapted.
    """
    first = {x.path for x in layers if "" in x.inputs and isinstance(x.part, Conv)}
    arrays, channels = dict(fit.arrays), set()
    axis = 1 if fit.scheme.torch else 2
    for name, mapping in fit.mappings.items():
        path, _, variable = mapping.ours.rpartition("/")
        if path not in first or variable != "kernel" or name not in arrays:
            continue
        array, shape = arrays[name], mapping.their_shape
        if array.ndim != 4 or {array.shape[axis], shape[axis]} != {GREY, RGB}:
            continue
        if (*array.shape[:axis], *array.shape[axis + 1 :]) != (*shape[:axis], *shape[axis + 1 :]):
            continue
        channels.add((array.shape[axis], shape[axis]))
        if shape[axis] == GREY:
            arrays[name] = array.sum(axis, keepdims=True, dtype=np.float32).astype(array.dtype)
        else:
            arrays[name] = (np.repeat(array, RGB, axis) / RGB).astype(array.dtype)
    if not channels:
        return fit, []
    if (RGB, GREY) in channels:
        note = (
            "the weights are for RGB and the images are grey: the first kernel is summed over RGB"
        )
    else:
        note = (
            "the weights are for grey images and the images are RGB: the first kernel is repeated "
            "and divided by 3"
        )
    return replace(fit, arrays=arrays), [note]
