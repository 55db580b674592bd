"""Render drawings as SVG and PNG with matplotlib. Equal drawings give equal bytes."""

from __future__ import annotations

import math
from typing import Any

from reslab.draw.marks import SIZES, Box, Drawing, Line, Mark, Point
from reslab.plots.matplotlib import INK, QUIET, saved, style

MARGIN = 14.0  # points around the picture
# colours of successive stages: fill, edge
STAGES = (
    ("#e8e4da", "#9a917c"),
    ("#f8dcb4", "#c08a3e"),
    ("#dcd0ee", "#8468b4"),
    ("#cfe8c6", "#5f9a4c"),
    ("#f6c9c4", "#bf5f57"),
    ("#c6dcf4", "#4c7fb8"),
    ("#d8ecea", "#4f9a94"),
)
LOOKS = {
    "pool": ("#ffffff", "#5c6470"),
    "fc": ("#eceef1", "#5c6470"),
    "bn": ("#fdf3cf", "#b59a3a"),
    "activation": ("#f9dcd9", "#bf5f57"),
    "conv": ("#c6dcf4", "#4c7fb8"),
    "sum": ("#ffffff", INK),
    "join": ("#e3e5ea", INK),
    "maps": ("#ffffff", "#9aa1ab"),
    "frame": ("#f6f7f9", "#c9cdd4"),
    "other": ("#ffffff", "#9aa1ab"),
}
LINES: dict[str, dict[str, Any]] = {
    "flow": {"color": INK, "linewidth": 0.8},
    "identity": {"color": INK, "linewidth": 1.0},
    "change": {"color": INK, "linewidth": 1.5, "linestyle": (0, (0.1, 2.0))},
    "projection": {"color": INK, "linewidth": 1.0, "linestyle": (0, (5, 2))},
    "concat": {"color": "#4c7fb8", "linewidth": 1.0},
    "dense": {"linewidth": 1.1},
    "fold": {"color": QUIET, "linewidth": 1.0},
    "guide": {"color": "#dfe2e6", "linewidth": 0.7},
}
CURVES = ("#b0483f", "#3f6fb0", "#4b8b3b", "#a8741a", "#7a55a8", "#2f8f8a")


def files(drawing: Drawing) -> dict[str, bytes]:
    """Return the contents of the files by their suffix: "svg" and "png"."""
    with style():
        return saved(_figure(drawing), drawing.title)


def _figure(drawing: Drawing) -> Any:
    from matplotlib.figure import Figure

    left, top, right, bottom = drawing.extent
    wide, high = right - left + 2 * MARGIN, bottom - top + 2 * MARGIN
    figure = Figure(figsize=(wide / 72, high / 72), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(left - MARGIN, right + MARGIN), ylim=(bottom + MARGIN, top - MARGIN))
    axes.set_axis_off()
    for order, mark in enumerate(sorted(drawing.marks, key=_layer)):
        _paint(axes, mark, order)
    return figure


def _layer(mark: Mark) -> int:
    """The painting order: frames, lines, boxes, text."""
    if isinstance(mark, Box):
        return 0 if mark.look == "frame" else 2
    return 1 if isinstance(mark, Line) else 3


def _paint(axes: Any, mark: Mark, order: int) -> None:
    if isinstance(mark, Box):
        _box(axes, mark, order)
    elif isinstance(mark, Line):
        _line(axes, mark, order)
    else:
        weight = "bold" if mark.role == "title" else "normal"
        colour = QUIET if mark.role == "note" else INK
        size = SIZES[mark.role]
        _text(axes, mark.x, mark.y, mark.text, size, mark.align, colour, order, weight)


def _box(axes: Any, box: Box, order: int) -> None:
    from matplotlib.patches import Ellipse, FancyBboxPatch

    fill, edge = LOOKS[box.look] if box.stage is None else STAGES[box.stage % len(STAGES)]
    kind: dict[str, Any] = {"facecolor": fill, "edgecolor": edge, "linewidth": 0.9, "zorder": order}
    left, top, _, _ = box.extent
    axes.add_patch(
        Ellipse((box.x, box.y), box.width, box.height, **kind)
        if box.look == "sum"
        else FancyBboxPatch(
            (left, top), box.width, box.height, "round,pad=0,rounding_size=2.5", **kind
        )
    )
    size = SIZES["sign" if box.look == "sum" else "box"]
    _text(axes, box.x, box.y, box.text, size, "center", INK, order + 0.5)


def _line(axes: Any, line: Line, order: int) -> None:
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path as Curve

    kind: dict[str, Any] = {"capstyle": "round", "zorder": order, **LINES[line.look]}
    if line.stage is not None:
        kind["color"] = CURVES[line.stage % len(CURVES)]
    codes = [{"M": Curve.MOVETO, "L": Curve.LINETO, "C": Curve.CURVE4}[code] for code in line.codes]
    axes.add_patch(PathPatch(Curve(line.points, codes), fill=False, **kind))
    if line.arrow:
        head = _head(line.points[-2], line.points[-1])
        axes.add_patch(Polygon(head, color=kind["color"], linewidth=0, zorder=order))


def _head(before: Point, end: Point, long: float = 4.2, half: float = 1.9) -> list[Point]:
    """The three corners of an arrowhead."""
    dx, dy = end[0] - before[0], end[1] - before[1]
    apart = math.hypot(dx, dy) or 1.0
    dx, dy = dx / apart, dy / apart
    x, y = end[0] - long * dx, end[1] - long * dy
    return [end, (x - half * dy, y + half * dx), (x + half * dy, y - half * dx)]


def _text(
    axes: Any,
    x: float,
    y: float,
    text: str,
    size: float,
    align: str,
    colour: str,
    order: float,
    weight: str = "normal",
) -> None:
    axes.text(
        x,
        y,
        text,
        fontsize=size,
        color=colour,
        ha=align,
        va="center_baseline" if "\n" not in text else "center",
        zorder=order,
        fontweight=weight,
        parse_math=False,
    )
