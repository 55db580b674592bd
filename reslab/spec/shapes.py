"""Shapes of one image's activations, and the arithmetic of windows (standard library only)."""

from __future__ import annotations

from dataclasses import dataclass

from reslab.core.errors import UserError


@dataclass(frozen=True)
class Maps:
    """Feature maps; height and width are None where the input's are. `stride` is from the image."""

    height: int | None
    width: int | None
    channels: int
    stride: int = 1

    @property
    def positions(self) -> int | None:
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
    features: int

    def __str__(self) -> str:
        return f"a vector of {self.features}"

    @property
    def size(self) -> str:
        return "1x1"


Shape = Maps | Vector


def axes(shape: Shape, data_format: str) -> tuple[int | None, ...]:
    """The sizes in the order of "channels_last" or "channels_first", without the batch."""
    if isinstance(shape, Vector):
        return (shape.features,)
    if data_format == "channels_last":
        return shape.height, shape.width, shape.channels
    return shape.channels, shape.height, shape.width


def padding(reach: int, pad: int | str) -> int:
    """Rows on each side; "even" is Caffe's and PyTorch's half a window."""
    if pad == "even":
        return (reach - 1) // 2
    if isinstance(pad, int):
        return pad
    raise UserError(f"padding is a number, 'even' or 'same' (pools: 'ceil'), not {pad!r}")


def same_padding(size: int, reach: int, stride: int) -> tuple[int, int]:
    """TensorFlow's "same", in rows before and behind: where they are odd in number, the last one
    is behind."""
    more = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return more // 2, more - more // 2


def window(x: Maps, reach: int, stride: int, pad: int | str, channels: int | None = None) -> Maps:
    """What a window of `reach` leaves of the maps; raises UserError where they are too small."""

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

    return Maps(along(x.height), along(x.width), channels or x.channels, x.stride * stride)
