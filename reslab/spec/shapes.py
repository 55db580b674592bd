"""Shapes of the activations of one image, and the arithmetic of windows."""

from __future__ import annotations

from dataclasses import dataclass

from reslab.core.errors import UserError
from reslab.spec.fields import MOST_STRIDE


@dataclass(frozen=True)
class Maps:
    """The shape of feature maps.

    Args:
        height: Rows; None where the size of the image is open.
        width: Columns; None likewise.
        channels: Number of maps.
        stride: Cumulative stride from the image.
    """

    height: int | None
    width: int | None
    channels: int
    stride: int = 1

    @property
    def positions(self) -> int | None:
        """Height times width; None where the size is open."""
        return None if self.height is None or self.width is None else self.height * self.width

    def __str__(self) -> str:
        return f"{self.size}x{self.channels}"

    @property
    def size(self) -> str:
        """ "56x56", or "HxW / 4" where the image's size is open."""
        if self.positions is None:
            return f"HxW / {self.stride}"
        return f"{self.height}x{self.width}"


@dataclass(frozen=True)
class Vector:
    """The shape of a vector.

    Args:
        features: Its length.
    """

    features: int

    def __str__(self) -> str:
        return f"a vector of {self.features}"

    @property
    def size(self) -> str:
        return "1x1"


Shape = Maps | Vector


def axes(shape: Shape, data_format: str) -> tuple[int | None, ...]:
    """Return the axes in the order of "channels_last" or "channels_first", without the batch."""
    if isinstance(shape, Vector):
        return (shape.features,)
    if data_format == "channels_last":
        return shape.height, shape.width, shape.channels
    return shape.channels, shape.height, shape.width


def padding(reach: int, pad: int | str) -> int:
    """Return the rows of padding on each side; "even" is (reach - 1) / 2."""
    if pad == "even":
        return (reach - 1) // 2
    if isinstance(pad, int):
        return pad
    raise UserError(f"pad is a number, 'even' or 'same' (in pools also 'ceil'), not {pad!r}")


def same_padding(size: int, reach: int, stride: int) -> tuple[int, int]:
    """Return the rows that TensorFlow's "same" pads before and after. An odd row is after."""
    rows = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return rows // 2, rows - rows // 2


def window(x: Maps, reach: int, stride: int, pad: int | str, channels: int | None = None) -> Maps:
    """Compute the shape of the output of a sliding window.

    Args:
        x: The input.
        reach: Side of the window, dilation included.
        stride: Step between windows.
        pad: As in `Conv` and `MaxPool`.
        channels: Output channels; those of the input by default.

    Returns:
        The shape of the output.

    Raises:
        UserError: The window does not fit the maps.
    """

    def along(n: int | None) -> int | None:
        if n is None:
            return None
        if pad == "same":
            out = -(-n // stride)
        elif pad == "ceil":
            out = -(-(n - reach) // stride) + 1
        else:
            out = (n + 2 * padding(reach, pad) - reach) // stride + 1
        if out < 1:
            raise UserError(f"a window of {reach}x{reach} does not fit maps of {x.size}")
        return out

    total_stride = x.stride * stride
    if total_stride > MOST_STRIDE:
        raise UserError(f"the strides up to here multiply to more than {MOST_STRIDE:,}")
    return Maps(along(x.height), along(x.width), channels or x.channels, total_stride)
