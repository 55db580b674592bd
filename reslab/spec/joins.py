"""Parts with several inputs: they end a `Residual` or a `Concat`."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reslab.core.errors import UserError
from reslab.spec.fields import Flag, Number, Text
from reslab.spec.leaf import Leaf, require_maps
from reslab.spec.shapes import Maps, Shape


@dataclass(frozen=True)
class Add(Leaf):
    """Add the two paths of a residual unit (He 2015, eq. 1).

    Args:
        broadcast: Whether a body of one channel is added to every channel of the shortcut.
    """

    broadcast: Flag = False

    def out_shape(self, *in_shapes: Shape) -> Shape:
        body, shortcut = in_shapes
        widen = self.broadcast and isinstance(body, Maps) and body.channels == 1
        if body != shortcut and not (
            widen and isinstance(shortcut, Maps) and replace(shortcut, channels=1) == body
        ):
            raise UserError(f"a residual unit adds {body} to {shortcut}: the shapes must agree")
        return shortcut


@dataclass(frozen=True)
class Multiply(Leaf):
    """Multiply the two paths. A body of 1x1 maps scales whole maps (Hu 2017, eq. 4)."""

    def out_shape(self, *in_shapes: Shape) -> Shape:
        body, maps = (require_maps(self, shape) for shape in in_shapes)
        same = (body.height, body.width, body.channels) == (maps.height, maps.width, maps.channels)
        if not same and (body.height, body.width, body.channels) != (1, 1, maps.channels):
            raise UserError(
                f"maps of {maps} cannot be multiplied by {body}: use 1x1x{maps.channels} or {maps}"
            )
        return maps


@dataclass(frozen=True)
class Gate(Leaf):
    """Join body F and shortcut x under a gate g(x) = sigmoid(W x + b) (He 2016, Sec. 3.1).

    W is a 1x1 convolution. Where the shape changes, x is the output of the shortcut.

    Args:
        of: "exclusive" for g(x) F + (1 - g(x)) x; "shortcut" for F + (1 - g(x)) x.
        bias: Initial value of b.
    """

    of: Text = "exclusive"
    bias: Number = -6.0

    def out_shape(self, *in_shapes: Shape) -> Shape:
        if self.of not in ("exclusive", "shortcut"):
            raise UserError(f"a Gate is of 'exclusive' or 'shortcut', not {self.of!r}")
        return Add().out_shape(*in_shapes)

    def weights(self, in_shape: Shape) -> dict[str, tuple[int, ...]]:
        channels = require_maps(self, in_shape).channels
        return {"kernel": (1, 1, channels, channels), "bias": (channels,)}

    def multiply_adds(self, in_shape: Shape, out_shape: Shape) -> int | None:
        maps = require_maps(self, out_shape)
        return None if maps.positions is None else maps.positions * maps.channels**2


@dataclass(frozen=True)
class Join(Leaf):
    """Concatenate the maps of several branches along the channels. `Concat` ends in it."""

    @property
    def kind(self) -> str:
        return "concat"

    def out_shape(self, *in_shapes: Shape) -> Shape:
        maps = [require_maps(self, shape) for shape in in_shapes]
        if len({replace(x, channels=0) for x in maps}) > 1:
            raise UserError(f"the branches of a Concat differ in size: {', '.join(map(str, maps))}")
        return replace(maps[0], channels=sum(x.channels for x in maps))
