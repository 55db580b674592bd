"""Parts drawn layer by layer, by structural recursion: a piece each, stacked and set side by side.

A piece is entered at (0, 0) and left at (0, height). One rule for each kind of part; what a
leaf says, or that it is left out, is the caller's to choose.
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
FORK = 9.0  # a piece of line for another to leave from
ASIDE = 16.0  # between a path and what it goes around
MOST = 3  # a repetition longer than this is drawn once, with its number

Say = Callable[[Leaf, Shape], str | None]


@dataclass(frozen=True)
class Piece:
    marks: tuple[Mark, ...] = ()
    height: float = 0.0

    @property
    def right(self) -> float:
        return max(0.0, around(self.marks)[2])

    @property
    def left(self) -> float:
        return min(0.0, around(self.marks)[0])

    def then(self, *others: Piece) -> Piece:
        marks, height = list(self.marks), self.height
        for other in others:
            marks += moved(other.marks, 0, height)
            height += other.height
        return Piece(tuple(marks), height)

    def longer(self, height: float) -> Piece:
        """The same with a line at its end, down to this height."""
        if height <= self.height:
            return self
        return Piece((*self.marks, straight((0, self.height), (0, height))), height)


def every(leaf: Leaf, x: Shape) -> str | None:
    return labels.long(leaf)


def few(leaf: Leaf, x: Shape) -> str | None:
    """As Fig. 3: convolutions, pools and full connections."""
    return None if labels.folded(leaf, x) else labels.short(leaf)


def after(part: Part, x: Shape) -> Shape:
    """The shape that the part makes of x."""
    return traverse(part, Edge(x), "", lambda *_: None).shape


def line(length: float = FORK) -> Piece:
    return Piece((straight((0, 0), (0, length)),), length)


def box(said: str, look: str, wide: float = 0.0) -> Piece:
    """An arrow and the box that it leads to."""
    wide = max(wide, width(said) + 12)
    made = Box(0, GAP + BOX / 2, wide, BOX, said, look)
    return Piece((straight((0, 0), (0, GAP), arrow=True), made), GAP + BOX)


def piece(part: Part, x: Shape, say: Say = every) -> Piece:
    """The picture of a part that is given x."""
    if isinstance(part, tuple):
        return _chain(part, x, say)
    if isinstance(part, Repeat):
        return _repeat(part, x, say)
    if isinstance(part, Residual):
        return _residual(part, x, say)
    if isinstance(part, Concat):
        return _concat(part, x, say)
    said = say(part, x)
    return Piece() if said is None else box(said, labels.look(part))


def _chain(parts: tuple[Part, ...], x: Shape, say: Say) -> Piece:
    made = Piece()
    for dense, same in groupby(parts, is_dense):
        run = tuple(same)
        if dense and len(run) > 1:
            made = made.then(_dense(run, x, say))
            x = after(run, x)
            continue
        for part in run:
            made = made.then(piece(part, x, say))
            x = after(part, x)
    return made


def _repeat(part: Repeat, x: Shape, say: Say) -> Piece:
    if part.times <= MOST:
        return _chain((part.part,) * part.times, x, say)
    once = piece(part.part, x, say)
    return Piece((*once.marks, *bracket(once.left, 0, once.height, part.times)), once.height)


def bracket(left: float, top: float, bottom: float, times: int) -> tuple[Mark, ...]:
    """At the left of what is drawn once and stands `times` over."""
    x = left - 8
    hook = straight(
        (x + 4, top + 2), (x, top + 2), (x, bottom - 2), (x + 4, bottom - 2), look="fold"
    )
    return hook, Text(x - 4, (top + bottom) / 2, f"x {times}", "label", "right")


def _residual(part: Residual, x: Shape, say: Say) -> Piece:
    """The body straight down, the other path at its right; it leaves where it truly leaves.

    That is before the lead where it is the identity, behind the lead where it is the shortcut.
    """
    lead, f = piece(part.lead, x, say), after(part.lead, x)
    body, y = piece(part.body, f, say), after(part.body, f)
    detour = part.takes_shortcut(x, y)
    down = lead.then(line(), body) if detour else line().then(lead, body)
    top = lead.height + FORK / 2 if detour else FORK / 2
    # Fig. 3 shows of a projection only that its line is dotted
    side = piece(part.shortcut, f, say) if detour and say is every else Piece()
    low = max(down.height, top + ASIDE + side.height) + GAP
    down = down.longer(low - GAP)
    out = max(down.right, width(labels.sign(part.join)) / 2) + ASIDE - side.left
    middle = low + ROUND
    marks = [
        *down.marks,
        straight((0, low - GAP), (0, low), arrow=True),
        *_other(top, out, side, middle, changes=after(part.shortcut, f) != x if detour else False),
        *_join(labels.sign(part.join), middle),
    ]
    if not detour:
        marks.append(Text(out + 5, (top + middle) / 2, "identity", "note", "left"))
    return Piece(tuple(marks), low + 2 * ROUND).then(piece(part.tail, y, say))


def _other(top: float, out: float, side: Piece, end: float, changes: bool) -> list[Mark]:
    """The path beside the body: a line, or two with the shortcut's boxes between."""
    look = "change" if changes else "identity"
    if not side.marks:
        return [beside(0, top, out, end, look)]
    begin = max(top + ASIDE, (top + end - side.height) / 2 - GAP / 2)
    first = around_corners(((0, top), (out, top), (out, begin)), look)
    last = around_corners(((out, begin + side.height), (out, end), (0, end)), look)
    first = Line(first.points, first.codes, look)  # the arrow's head is the box's own
    return [first, *moved(side.marks, out, begin), last]


def _join(sign: str, middle: float) -> list[Mark]:
    """Painted over the ends of the paths that meet in it."""
    wide = 2 * ROUND if len(sign) == 1 else width(sign) + 12
    return [Box(0, middle, wide, 2 * ROUND, sign, "sum" if len(sign) == 1 else "join")]


def _concat(part: Concat, x: Shape, say: Say) -> Piece:
    """The branches side by side, and a bar where they are laid one behind the other."""
    branches = [piece(branch, x, say) for branch in part.branches]
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
    """Whether it is a layer of a dense block: all that came in is kept, something is added."""
    if not isinstance(part, Concat) or len(part.branches) != 2:
        return False
    kept, new = (list(unroll(branch)) for branch in part.branches)
    return not kept and bool(new)


def _dense(layers: tuple[Part, ...], x: Shape, say: Say) -> Piece:
    """Huang 2017, Fig. 1: curves from every layer, and from what came in, to every later one."""
    made = line().then(_maps("x0", x))
    leave, arrive = [made.height - BOX / 2], []
    for i, layer in enumerate(layers, 1):
        assert isinstance(layer, Concat)
        new = layer.branches[1]
        arrive.append(made.height + GAP)
        made = made.then(line(2 * GAP), _framed(piece(new, x, say), f"H{i}"), line())
        made = made.then(_maps(f"x{i}", after(new, x)))
        leave.append(made.height - BOX / 2)
        x = after(layer, x)
    arrive.append(made.height + GAP)
    made = made.then(line(2 * GAP), box(f"concat, {labels.size(x)}", "join"))
    sides = made.left - ASIDE / 2, made.right + ASIDE / 2
    curves = [
        _curve(i, j - i, leave[i], arrive[j], sides[i % 2])
        for i in range(len(leave))
        for j in range(i + 1, len(arrive))
    ]
    return Piece((*made.marks, *curves), made.height)


def _maps(name: str, shape: Shape) -> Piece:
    """What a layer makes and all later ones read."""
    said = f"{name}: {labels.size(shape)}"
    return Piece((Box(0, BOX / 2, width(said) + 8, BOX, said, "maps"),), BOX)


def _framed(inner: Piece, name: str) -> Piece:
    left, _, right, _ = around(inner.marks)
    high, wide = inner.height + 6, right - left + 12
    frame = Box((left + right) / 2, high / 2, wide, high, "", "frame")
    label = Text(frame.extent[0] + 3, GAP / 2 + 3, name, "note", "left")
    return Piece((frame, *inner.then(line(6)).marks, label), high)


def _curve(source: int, span: int, top: float, bottom: float, side: float) -> Line:
    """From the maps of a layer out to one side, the farther the longer, and back to the axis."""
    out = math.copysign(abs(side) + 11 * span, side) / 0.75  # a cubic gets three quarters there
    points = (0.0, top), (out, top), (out, bottom), (0.0, bottom)
    return Line(points, "MCCC", "dense", True, source)
