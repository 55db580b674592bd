"""Resizing and cropping of pictures of any size, inside of an exported file.

Pillow resizes by a weighted mean of pixels along each axis: first in each row, then in each column,
each time rounded to whole grey values. With the weights as a matrix for each axis, this is two
matrix products, which any ONNX runtime has. The weights depend on the size of the picture and are
computed in the graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reslab.data.images import MARGIN
from reslab.engines.graph import Builder
from reslab.formats.arithmetic import Tensor

UNITS = 2.0**22  # Pillow computes with weights that are whole multiples of 1 / UNITS


@dataclass(frozen=True)
class Placement:
    """Where the pixels of the view lie in the picture, along one axis.

    Pixel i of the view covers `first + i * step` to `first + (i + 1) * step` in pixels of the
    picture, of which there are `length`.
    """

    length: Tensor
    first: Tensor
    step: Tensor


@dataclass(frozen=True)
class CentreView:
    """The centre of a picture, as reslab cuts it out (`reslab.data.images.view`)."""

    height: int
    width: int
    margin: bool
    interpolation: str = "bilinear"

    def axes(self, height: Tensor, width: Tensor) -> tuple[Placement, Placement]:
        ratio, short = self.width / self.height, min(self.height, self.width)
        part = short / round(short * MARGIN) if self.margin else 1.0
        down = height.apply("Min", width * (1 / ratio)) * part
        across = width.apply("Min", height * ratio) * part
        return _centre(height, down, self.height), _centre(width, across, self.width)


def _centre(length: Tensor, part: Tensor, size: int) -> Placement:
    """The middle part of an axis. Pillow takes the ends of a box as float32."""
    first = (length - part) * 0.5
    begin, end = first.as_type("float32"), (first + part).as_type("float32")
    return Placement(length, begin.as_type("float64"), (end - begin).as_type("float64") / size)


@dataclass(frozen=True)
class ResizedView:
    """The centre square after resizing, as published weights prescribe it.

    `resize` is the length of the shorter side before the crop; None: the whole picture is resized
    to the square (`reslab.weights.preprocessing`).
    """

    height: int
    width: int
    resize: int | None
    interpolation: str

    def axes(self, height: Tensor, width: Tensor) -> tuple[Placement, Placement]:
        shorter = height.apply("Min", width)
        return (
            self._axis(height, shorter, self.height),
            self._axis(width, shorter, self.width),
        )

    def _axis(self, length: Tensor, shorter: Tensor, size: int) -> Placement:
        if self.resize is None:
            return Placement(length, length.constant(0.0), length / size)
        resized = (length * float(self.resize) / shorter).apply("Floor")
        step = length / resized
        return Placement(length, ((resized - size) * 0.5).apply("Round") * step, step)


View = CentreView | ResizedView


def add_view(graph: Builder, pictures: str, view: View, order: str = "rgb") -> str:
    """Append the view of pictures, uint8 (n, height, width, channels) of any height and width.

    `order` is that of the channels of the result, "rgb" or "bgr"; the pictures are RGB or grey.

    Returns:
        The name of the result, float32 (n, view.height, view.width, channels) in 0..255.
    """
    sizes = graph.add("Shape", pictures, name="view/shape")
    height, width = (_size(graph, sizes, axis) for axis in (1, 2))
    rows, columns = view.axes(height, width)
    # Pillow resizes each channel by itself: NCHW
    maps = Tensor(graph, pictures).as_type("float32").apply("Transpose", perm=(0, 3, 1, 2))
    weights = _weights(columns, view.width, view.interpolation)
    across = _whole_values(maps @ weights.apply("Transpose", perm=(1, 0)))
    down = _whole_values(_weights(rows, view.height, view.interpolation) @ across)
    return in_order(down.apply("Transpose", perm=(0, 2, 3, 1)), order).name


def in_order(images: Tensor, order: str) -> Tensor:
    """RGB or grey images (n, height, width, channels) with the channels in this order."""
    if order == "rgb":
        return images
    return images.apply("Gather", images.graph.constant([2, 1, 0], "view/bgr", "int64"), axis=3)


def _size(graph: Builder, sizes: str, axis: int) -> Tensor:
    index = graph.constant(axis, "view/axis", "int64")
    size = graph.add("Gather", sizes, index, name="view/size", axis=0)
    return Tensor(graph, size).as_type("float64")


def _whole_values(maps: Tensor) -> Tensor:
    """Rounded to grey values, halves up; cubic interpolation leaves the range at sharp edges."""
    return (maps + 0.5).apply("Floor").clipped(0.0, 255.0)


def _weights(axis: Placement, size: int, interpolation: str) -> Tensor:
    """(size, length): the weights of the picture's pixels in each pixel of the view.

    In float64, as in Pillow: at simple ratios many sums lie halfway between two grey values.
    OpenVINO computes them in float32, and then more pixels differ by one.
    """
    zero, one = axis.length.constant(0.0), axis.length.constant(1.0)
    pixels = zero.apply("Range", axis.length, one) + 0.5  # centres
    numbers = axis.length.constant(np.arange(size)[:, None] + 0.5)
    centres = numbers * axis.step + axis.first
    spread = axis.step.apply("Max", 1.0)
    weights = FILTERS[interpolation]((pixels - centres) / spread)
    axes = axis.length.graph.constant([1], "view/axes", "int64")
    weights = weights / weights.apply("ReduceSum", axes, keepdims=1)
    return ((weights * UNITS).apply("Round") / UNITS).as_type("float32")


# The filters of Pillow (libImaging/Resample.c), by the distance in units of the larger pixel ------


def _bilinear(x: Tensor) -> Tensor:
    return (1.0 - x.apply("Abs")).apply("Max", 0.0)


def _bicubic(x: Tensor) -> Tensor:
    """Keys 1981, with a = -0.5."""
    a, d = -0.5, x.apply("Abs")
    near = ((a + 2) * d - (a + 3)) * d * d + 1.0
    far = (((d - 5.0) * d + 8.0) * d - 4.0) * a
    return d.below(1.0, near, d.below(2.0, far, 0.0))


def _sinc(x: Tensor) -> Tensor:
    angle = x * math.pi
    return x.apply("Abs").below(1e-6, 1.0, angle.apply("Sin") / angle)


def _hamming(x: Tensor) -> Tensor:
    window = (x * math.pi).apply("Cos") * 0.46 + 0.54
    return x.apply("Abs").below(1.0, _sinc(x) * window, 0.0)


def _lanczos(x: Tensor) -> Tensor:
    return x.apply("Abs").below(3.0, _sinc(x) * _sinc(x / 3.0), 0.0)


FILTERS: Mapping[str, Callable[[Any], Tensor]] = {
    "bilinear": _bilinear,
    "bicubic": _bicubic,
    "hamming": _hamming,
    "lanczos": _lanczos,
}
