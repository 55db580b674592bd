"""A network as a column of boxes with its skips, as in He 2015, Fig. 3.

Batch normalisation and ReLU are left out. Parallel branches (an Inception module) are one item of
the column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from reslab.draw import labels
from reslab.draw.elements import Piece, box, main_label, output_shape, piece
from reslab.draw.marks import Box
from reslab.spec import Concat, Network, Part, Repeat, Residual, input_maps, unroll
from reslab.spec.shapes import Maps, Shape

LONGEST = 60  # boxes; in longer columns a repetition is drawn once, with its number
BOX_WIDTH = 92.0

Size = tuple[float, float]  # (height, width) of maps
OPEN = 1e6  # the side of an image whose size is open


@dataclass(frozen=True)
class Item:
    """A box, or parallel branches, with the size of the output maps."""

    piece: Piece
    size: Size


@dataclass(frozen=True)
class Skip:
    """A line from above the item `start` to below the item before `end`.

    `look` is "identity", "change" (the shape changes: dotted in Fig. 3), "projection" (a shortcut
    with layers that keeps the shape) or "concat". `level` counts the skips nested inside.
    """

    start: int
    end: int
    look: str
    level: int


@dataclass(frozen=True)
class Fold:
    """The items from `start` to before `end`, which are repeated `times` times."""

    start: int
    end: int
    times: int
    level: int


@dataclass
class Column:
    """The items, skips and folds of a network, from top to bottom."""

    network: Network
    input_shape: Any
    fold: bool
    items: list[Item] = field(default_factory=list)
    skips: list[Skip] = field(default_factory=list)
    folds: list[Fold] = field(default_factory=list)
    size: Size = (OPEN, OPEN)  # of the last item

    def __post_init__(self) -> None:
        x: Shape = input_maps(self.network, self.input_shape)
        self.size = _size(x)
        for part in self.network.rows.values():
            x = self._add(part, x, (0, 0))

    @property
    def boxes(self) -> int:
        marks = (mark for item in self.items for mark in item.piece.marks)
        return sum(isinstance(mark, Box) and mark.layer for mark in marks)

    def _add(self, part: Part, x: Shape, least: Size) -> Shape:
        """Add the items of a part and return its output shape; no item is smaller than `least`."""
        for each, times in runs(part):
            left = times
            while left:
                start, skips = len(self.items), len(self.skips)
                y = self._one(each, x, least)
                if self.fold and left > 1 and self._alike(each, x, y, least, start, skips):
                    y = _after_repeats(each, y, left - 1)
                    self._fold(start, left)
                    left = 1
                x, left = y, left - 1
        return x

    def _alike(self, part: Part, x: Shape, y: Shape, least: Size, start: int, skips: int) -> bool:
        """Whether the part looks the same when it is repeated on its output y.

        The first three units of ResNet-50 are equal, but only the first has a projection.
        """
        if x == y:
            return True
        more, added, folds, size = len(self.items), len(self.skips), len(self.folds), self.size
        self._one(part, y, least)
        alike = self._appearance(start, skips, more, added) == self._appearance(more, added)
        del self.items[more:], self.skips[added:], self.folds[folds:]
        self.size = size
        return alike

    def _appearance(
        self, start: int, skips: int, end: int | None = None, last: int | None = None
    ) -> Any:
        boxes = [m.text for i in self.items[start:end] for m in i.piece.marks if isinstance(m, Box)]
        return boxes, [skip.look for skip in self.skips[skips:last]]

    def _fold(self, start: int, times: int) -> None:
        if len(self.items) > start:
            self.folds.append(Fold(start, len(self.items), times, _level(self.folds, start)))

    def _one(self, part: Part, x: Shape, least: Size) -> Shape:
        if isinstance(part, tuple | Repeat):
            return self._add(part, x, least)
        if isinstance(part, Residual):
            return self._residual(part, x, least)
        y = output_shape(part, x)
        if isinstance(part, Concat):
            self._concat(part, x, y, least)
        elif (text := main_label(part, x)) is not None:
            self._item(box(text, labels.look(part), BOX_WIDTH), y, least)
        return y

    def _item(self, piece: Piece, shape: Shape, least: Size) -> None:
        # maps that grow again, or the 1x1 maps of a gate, do not move the column up or down
        self.size = max(min(_size(shape), self.size), least)
        self.items.append(Item(piece, self.size))

    def _residual(self, part: Residual, x: Shape, least: Size) -> Shape:
        out = output_shape(part, x)
        inner = max(least, min(_size(out), self.size))
        start = len(self.items)
        f = self._add(part.lead, x, inner)
        y = output_shape(part.body, f)
        detour = part.takes_shortcut(x, y)
        start = len(self.items) if detour else start
        self._add(part.body, f, inner)
        shortcut = part.shortcut if detour else ()
        look = "identity"
        if output_shape(shortcut, f) != x:
            look = "change"
        elif any(unroll(shortcut)):
            look = "projection"
        self._skip(start, look, f, inner)
        self._add(part.tail, out, least)
        return out

    def _concat(self, part: Concat, x: Shape, y: Shape, least: Size) -> None:
        new = [branch for branch in part.branches if any(unroll(branch))]
        if len(new) == 1 and len(part.branches) > 1:  # a dense layer: its input is kept
            start = len(self.items)
            self._add(new[0], x, max(least, min(_size(y), self.size)))
            self._skip(start, "concat", x, least)
        else:
            self._item(piece(part, x, main_label), y, least)

    def _skip(self, start: int, look: str, x: Shape, least: Size) -> None:
        if len(self.items) == start:  # the unit has no layers that are drawn
            self._item(box("no layers", "other", BOX_WIDTH), x, least)
        self.skips.append(Skip(start, len(self.items), look, _level(self.skips, start)))


def column(network: Network, input_shape: Any = None, fold: bool = False) -> Column:
    return Column(network, input_shape or network.input_shape, fold)


def columns(networks: list[Network], side: int | None = None) -> list[Column]:
    """One column for each network, for images of `side` pixels or of the networks' own size.

    If a column has more than LONGEST boxes, repetitions are folded in all of them.
    """
    shapes = [(side, side, n.input_shape[2]) if side else n.input_shape for n in networks]
    unfolded = [column(n, shape) for n, shape in zip(networks, shapes, strict=True)]
    if max(each.boxes for each in unfolded) <= LONGEST:
        return unfolded
    return [column(n, shape, fold=True) for n, shape in zip(networks, shapes, strict=True)]


def runs(part: Part) -> Iterator[tuple[Part, int]]:
    """The steps of a part, each with the number of times that it occurs in a row."""
    for each, same in groupby(_single(part), lambda pair: pair[0]):
        yield each, sum(times for _, times in same)


def _single(part: Part) -> Iterator[tuple[Part, int]]:
    if isinstance(part, tuple):
        for each in part:
            yield from _single(each)
    elif isinstance(part, Repeat):
        inner = list(_single(part.part))
        if len(inner) == 1:  # a repetition of a repetition
            yield inner[0][0], inner[0][1] * part.times
        elif part.times:
            yield part.part, part.times
    else:
        yield part, 1


def _after_repeats(part: Part, x: Shape, times: int) -> Shape:
    """The shape after the part is repeated `times` more times."""
    for _ in range(times):
        y = output_shape(part, x)
        if y == x:
            break
        x = y
    return x


def _level(each: list[Any], start: int) -> int:
    return 1 + max((one.level for one in each if one.start >= start), default=-1)


def _size(shape: Shape) -> Size:
    if not isinstance(shape, Maps):
        return 1, 1
    if shape.height is None or shape.width is None:
        return OPEN / shape.stride, OPEN / shape.stride
    return shape.height, shape.width


def side(size: Size) -> str:
    """The label beside a row of the picture: "output size: 56"."""
    height, width = size
    if height > 1e4:
        return f"output size: 1/{OPEN / height:.0f}"
    return f"output size: {height:.0f}" + (f"x{width:.0f}" if width != height else "")
