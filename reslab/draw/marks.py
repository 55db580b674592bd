"""The elements of a drawing: boxes, lines and text. Units are points; y points down.

Layout makes them and `render` paints them, so that tests can check positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

Point = tuple[float, float]
SIZES = {"box": 7.5, "sign": 9.0, "title": 10.0, "label": 8.5, "note": 7.0}  # font sizes in points
LAYERS = "conv", "pool", "fc", "bn", "activation", "other"  # looks of boxes for layers
WIDE = 0.62  # mean width of a letter of DejaVu Sans, relative to the font size


def width(text: str, role: str = "box") -> float:
    """Approximate width of the longest line, in points."""
    return max(map(len, text.split("\n"))) * SIZES[role] * WIDE


@dataclass(frozen=True)
class Box:
    """A box with its centre at (x, y). `look` and `stage` choose its colours."""

    x: float
    y: float
    width: float
    height: float
    text: str
    look: str
    stage: int | None = None

    def moved(self, dx: float, dy: float) -> Box:
        return replace(self, x=self.x + dx, y=self.y + dy)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom."""
        w, h = self.width / 2, self.height / 2
        return self.x - w, self.y - h, self.x + w, self.y + h

    @property
    def layer(self) -> bool:
        """Whether the box is a layer, not a join or a frame."""
        return self.look in LAYERS


@dataclass(frozen=True)
class Line:
    """A line through points, with one code for each: M start, L straight, CCC a cubic curve.

    `arrow` adds an arrowhead at the end.
    """

    points: tuple[Point, ...]
    codes: str
    look: str = "flow"
    arrow: bool = False
    stage: int | None = None

    def moved(self, dx: float, dy: float) -> Line:
        return replace(self, points=tuple((x + dx, y + dy) for x, y in self.points))

    @property
    def extent(self) -> tuple[float, float, float, float]:
        xs, ys = zip(*self._on_line(), strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    def _on_line(self) -> Iterator[Point]:
        """Points on the line; of a curve, its middle and its end."""
        at, i = self.points[0], 0
        while i < len(self.points):
            if self.codes[i] == "C":
                (a, b), (c, d), end = self.points[i : i + 3]
                yield (at[0] + 3 * a + 3 * c + end[0]) / 8, (at[1] + 3 * b + 3 * d + end[1]) / 8
                i += 2
            at = self.points[i]
            yield at
            i += 1


@dataclass(frozen=True)
class Text:
    """Text whose left end, middle or right end (by `align`) is at (x, y)."""

    x: float
    y: float
    text: str
    role: str = "note"
    align: str = "center"

    def moved(self, dx: float, dy: float) -> Text:
        return replace(self, x=self.x + dx, y=self.y + dy)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        w = width(self.text, self.role)
        h = (self.text.count("\n") + 1) * SIZES[self.role] * 0.65
        left = self.x - {"left": 0.0, "center": w / 2, "right": w}[self.align]
        return left, self.y - h, left + w, self.y + h


Mark = Box | Line | Text


def moved(marks: Iterable[Mark], dx: float, dy: float) -> Iterator[Mark]:
    return (mark.moved(dx, dy) for mark in marks)


@dataclass(frozen=True)
class Drawing:
    """Marks, and the title that is written into the file."""

    marks: tuple[Mark, ...]
    title: str = ""

    @property
    def boxes(self) -> list[Box]:
        return [mark for mark in self.marks if isinstance(mark, Box)]

    @property
    def lines(self) -> list[Line]:
        return [mark for mark in self.marks if isinstance(mark, Line)]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        return around(self.marks)


def around(marks: Iterable[Mark]) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of all marks; zeros if there are none."""
    extents = [mark.extent for mark in marks] or [(0.0, 0.0, 0.0, 0.0)]
    lefts, tops, rights, bottoms = zip(*extents, strict=True)
    return min(lefts), min(tops), max(rights), max(bottoms)


def straight(*points: Point, look: str = "flow", arrow: bool = False) -> Line:
    return Line(points, "M" + "L" * (len(points) - 1), look, arrow)


def beside(
    x: float, top: float, out: float, bottom: float, look: str, stage: int | None = None
) -> Line:
    """A line from (x, top) sideways to `out`, down, and back to (x, bottom), with round corners."""
    return around_corners(((x, top), (out, top), (out, bottom), (x, bottom)), look, stage)


def around_corners(
    points: tuple[Point, ...], look: str, stage: int | None = None, radius: float = 12.0
) -> Line:
    """A line of horizontal and vertical segments with round corners and an arrowhead."""
    path, codes = [points[0]], "M"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        reach = min(radius, _apart(before, corner) / 2, _apart(corner, after) / 2)
        path += [_toward(corner, before, reach), corner, corner, _toward(corner, after, reach)]
        codes += "LCCC"
    return Line((*path, points[-1]), codes + "L", look, True, stage)


def _apart(a: Point, b: Point) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _toward(a: Point, b: Point, reach: float) -> Point:
    apart = _apart(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * reach / apart, a[1] + (b[1] - a[1]) * reach / apart
