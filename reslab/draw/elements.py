"""Draw parts layer by layer: each is a piece; pieces are stacked or placed side by side.

A piece starts at (0, 0) and ends at (0, height). There is one function for each kind of part. The
caller chooses the label of a leaf, or leaves the leaf out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from reslab.draw import labels
from reslab.draw.marks import (
    Box,
    Line,
    Mark,
    Text,
    around,
    around_corners,
    beside,
    moved,
    straight,
    width,
)
from reslab.spec import Concat, Edge, Leaf, Part, Repeat, Residual, traverse, unroll
from reslab.spec.shapes import Shape

GAP = 13.0  # between boxes, with an arrow in it
BOX = 15.0  # a box's height
ROUND = 7.0  # the radius of a sum's circle
FORK = 9.0  # length of a line at which another one starts
ASIDE = 16.0  # between a path and the boxes that it passes
MOST = 3  # a longer repetition is drawn once, with its number

LabelOf = Callable[[Leaf, Shape], str | None]


@dataclass(frozen=True)
class Piece:
    """The marks of a part, and their height."""

    marks: tuple[Mark, ...] = ()
    height: float = 0.0

    @property
    def right(self) -> float:
        return max(0.0, around(self.marks)[2])

    @property
    def left(self) -> float:
        return min(0.0, around(self.marks)[0])

    def then(self, *others: Piece) -> Piece:
        """This piece with others below it."""
        marks, height = list(self.marks), self.height
        for other in others:
            marks += moved(other.marks, 0, height)
            height += other.height
        return Piece(tuple(marks), height)

    def longer(self, height: float) -> Piece:
        """This piece, extended by a line down to the given height."""
        if height <= self.height:
            return self
        return Piece((*self.marks, straight((0, self.height), (0, height))), height)


def full_label(leaf: Leaf, x: Shape) -> str | None:
    """The label of every layer."""
    return labels.long(leaf)


def main_label(leaf: Leaf, x: Shape) -> str | None:
    """The labels of Fig. 3: convolutions, pools and fully connected layers; None for others."""
    return None if labels.folded(leaf, x) else labels.short(leaf)


def output_shape(part: Part, x: Shape) -> Shape:
    """The output shape of a part for an input x."""
    return traverse(part, Edge(x), "", lambda *_: None).shape


def line(length: float = FORK) -> Piece:
    return Piece((straight((0, 0), (0, length)),), length)


def box(text: str, look: str, wide: float = 0.0) -> Piece:
    """An arrow and the box that it leads to."""
    wide = max(wide, width(text) + 12)
    mark = Box(0, GAP + BOX / 2, wide, BOX, text, look)
    return Piece((straight((0, 0), (0, GAP), arrow=True), mark), GAP + BOX)


def piece(part: Part, x: Shape, label: LabelOf = full_label) -> Piece:
    """Draw a part for an input x."""
    if isinstance(part, tuple):
        return _chain(part, x, label)
    if isinstance(part, Repeat):
        return _repeat(part, x, label)
    if isinstance(part, Residual):
        return _residual(part, x, label)
    if isinstance(part, Concat):
        return _concat(part, x, label)
    text = label(part, x)
    return Piece() if text is None else box(text, labels.look(part))


def _chain(parts: tuple[Part, ...], x: Shape, label: LabelOf) -> Piece:
    drawn = Piece()
    for dense, same in groupby(parts, is_dense):
        run = tuple(same)
        if dense and len(run) > 1:
            drawn = drawn.then(_dense(run, x, label))
            x = output_shape(run, x)
            continue
        for part in run:
            drawn = drawn.then(piece(part, x, label))
            x = output_shape(part, x)
    return drawn


def _repeat(part: Repeat, x: Shape, label: LabelOf) -> Piece:
    if part.times <= MOST:
        return _chain((part.part,) * part.times, x, label)
    once = piece(part.part, x, label)
    return Piece((*once.marks, *bracket(once.left, 0, once.height, part.times)), once.height)


def bracket(left: float, top: float, bottom: float, times: int) -> tuple[Mark, ...]:
    """A bracket at the left of a repetition that is drawn once, with its number."""
    x = left - 8
    hook = straight(
        (x + 4, top + 2), (x, top + 2), (x, bottom - 2), (x + 4, bottom - 2), look="fold"
    )
    return hook, Text(x - 4, (top + bottom) / 2, f"x {times}", "label", "right")


def _residual(part: Residual, x: Shape, label: LabelOf) -> Piece:
    """The body straight down, and the skip at its right.

    The identity starts before the lead, the shortcut after it, as in the computation.
    """
    lead, f = piece(part.lead, x, label), output_shape(part.lead, x)
    body, y = piece(part.body, f, label), output_shape(part.body, f)
    detour = part.takes_shortcut(x, y)
    down = lead.then(line(), body) if detour else line().then(lead, body)
    top = lead.height + FORK / 2 if detour else FORK / 2
    # Fig. 3 draws a projection as a dotted line without boxes
    side = piece(part.shortcut, f, label) if detour and label is full_label else Piece()
    low = max(down.height, top + ASIDE + side.height) + GAP
    down = down.longer(low - GAP)
    out = max(down.right, width(labels.sign(part.join)) / 2) + ASIDE - side.left
    middle = low + ROUND
    changes = detour and output_shape(part.shortcut, f) != x
    marks = [
        *down.marks,
        straight((0, low - GAP), (0, low), arrow=True),
        *_other(top, out, side, middle, changes=changes),
        *_join(labels.sign(part.join), middle),
    ]
    if not detour:
        marks.append(Text(out + 5, (top + middle) / 2, "identity", "note", "left"))
    return Piece(tuple(marks), low + 2 * ROUND).then(piece(part.tail, y, label))


def _other(top: float, out: float, side: Piece, end: float, changes: bool) -> list[Mark]:
    """The skip beside the body: a line, or two with the boxes of the shortcut between them."""
    look = "change" if changes else "identity"
    if not side.marks:
        return [beside(0, top, out, end, look)]
    begin = max(top + ASIDE, (top + end - side.height) / 2 - GAP / 2)
    first = around_corners(((0, top), (out, top), (out, begin)), look)
    last = around_corners(((out, begin + side.height), (out, end), (0, end)), look)
    first = Line(first.points, first.codes, look)  # the box already has an arrowhead
    return [first, *moved(side.marks, out, begin), last]


def _join(sign: str, middle: float) -> list[Mark]:
    """The circle or box that joins two paths; it covers their ends."""
    wide = 2 * ROUND if len(sign) == 1 else width(sign) + 12
    return [Box(0, middle, wide, 2 * ROUND, sign, "sum" if len(sign) == 1 else "join")]


def _concat(part: Concat, x: Shape, label: LabelOf) -> Piece:
    """The branches side by side, and a bar where they are concatenated."""
    branches = [piece(branch, x, label) for branch in part.branches]
    deep = FORK + GAP + max(branch.height for branch in branches)
    wide = sum(b.right - b.left for b in branches) + ASIDE * (len(branches) - 1)
    marks: list[Mark] = [straight((0, 0), (0, FORK))]
    at, axes = -wide / 2, []
    for branch in branches:
        axis = at - branch.left
        axes.append(axis)
        at = axis + branch.right + ASIDE
        marks += moved(branch.longer(deep - FORK - GAP).marks, axis, FORK)
        marks.append(straight((axis, deep - GAP), (axis, deep), arrow=True))
    marks.append(straight((min(0, *axes), FORK), (max(0, *axes), FORK)))
    bar = max(max(axes) - min(axes), width("concat")) + 16
    middle = (max(axes) + min(axes)) / 2
    marks.append(Box(middle, deep + BOX / 2, bar, BOX, "concat", "join"))
    return Piece(tuple(marks), deep + BOX)


# Dense blocks ------------------------------------------------------------------------------------


def is_dense(part: Part) -> bool:
    """Whether a part is a layer of a dense block: it keeps its input and adds maps."""
    if not isinstance(part, Concat) or len(part.branches) != 2:
        return False
    kept, new = (list(unroll(branch)) for branch in part.branches)
    return not kept and bool(new)


def _dense(layers: tuple[Part, ...], x: Shape, label: LabelOf) -> Piece:
    """Curves from the input and from every layer to every later layer (Huang 2017, Fig. 1)."""
    drawn = line().then(_maps("x0", x))
    leave, arrive = [drawn.height - BOX / 2], []
    for i, layer in enumerate(layers, 1):
        assert isinstance(layer, Concat)
        new = layer.branches[1]
        arrive.append(drawn.height + GAP)
        drawn = drawn.then(line(2 * GAP), _framed(piece(new, x, label), f"H{i}"), line())
        drawn = drawn.then(_maps(f"x{i}", output_shape(new, x)))
        leave.append(drawn.height - BOX / 2)
        x = output_shape(layer, x)
    arrive.append(drawn.height + GAP)
    drawn = drawn.then(line(2 * GAP), box(f"concat, {labels.size(x)}", "join"))
    sides = drawn.left - ASIDE / 2, drawn.right + ASIDE / 2
    curves = [
        _curve(i, j - i, leave[i], arrive[j], sides[i % 2])
        for i in range(len(leave))
        for j in range(i + 1, len(arrive))
    ]
    return Piece((*drawn.marks, *curves), drawn.height)


def _maps(name: str, shape: Shape) -> Piece:
    """The output maps of a layer, which all later layers read."""
    text = f"{name}: {labels.size(shape)}"
    return Piece((Box(0, BOX / 2, width(text) + 8, BOX, text, "maps"),), BOX)


def _framed(inner: Piece, name: str) -> Piece:
    left, _, right, _ = around(inner.marks)
    high, wide = inner.height + 6, right - left + 12
    frame = Box((left + right) / 2, high / 2, wide, high, "", "frame")
    label = Text(frame.extent[0] + 3, GAP / 2 + 3, name, "note", "left")
    return Piece((frame, *inner.then(line(6)).marks, label), high)


def _curve(source: int, span: int, top: float, bottom: float, side: float) -> Line:
    """A curve from a layer's maps to a later layer; longer curves reach farther out."""
    # a cubic curve reaches three quarters of the way to its handles
    out = math.copysign(abs(side) + 11 * span, side) / 0.75
    points = (0.0, top), (out, top), (out, bottom), (0.0, bottom)
    return Line(points, "MCCC", "dense", True, source)
