"""Place columns side by side, so that maps of one size are at one height (He 2015, Fig. 3)."""

from __future__ import annotations

import textwrap
from dataclasses import replace

from reslab.draw.columns import Column, Size, columns, side
from reslab.draw.elements import GAP, bracket
from reslab.draw.marks import SIZES, Box, Drawing, Line, Mark, Text, around, straight
from reslab.spec import Network, summary

BULGE = 22.0  # distance of an inner skip from its column; outer ones are farther away
BETWEEN = 26.0  # columns
BAND = 12.0  # between maps of one size and the next
LEGEND = {
    "identity": "skip: the identity",
    "change": "skip that changes the shape",
    "projection": "skip with a projection that keeps the shape",
    "concat": "concatenated with the new maps",
}


def picture(networks: list[Network], size: int | None = None) -> Drawing:
    """Lay out networks side by side, as marks that can be tested or rendered.

    Args:
        networks: The networks.
        size: Side of the images in pixels. Defaults to each network's own size.

    Returns:
        The drawing: boxes, lines and text in points.

    Raises:
        UserError: The images are too small for a network.
    """
    each = columns(networks, size)
    tops = _bands(each)
    marks: list[Mark] = [
        Text(0, top + GAP + 7.5, side(band), "label", "left") for band, top in tops.items()
    ]
    at = around(marks)[2] + BETWEEN
    for column in each:
        placed = _column(column, tops)
        left, _, right, _ = around(placed)
        marks += (mark.moved(at - left, 0) for mark in placed)
        at += right - left + BETWEEN
    marks += _guides(tops, around(marks))
    marks += _legend(each, around(marks)[3] + 20)
    return Drawing(tuple(marks), ", ".join(net.name for net in networks))


def _bands(each: list[Column]) -> dict[Size, float]:
    """The top of the band of each map size: below the tallest column part above it."""
    sizes = sorted({item.size for column in each for item in column.items}, reverse=True)
    tops, y = {}, 0.0
    for size in sizes:
        tops[size] = y
        y += BAND + max(
            sum(item.piece.height for item in column.items if item.size == size) for column in each
        )
    return tops


def _column(column: Column, tops: dict[Size, float]) -> list[Mark]:
    """The marks of a column around the axis x = 0."""
    stages = {size: i for i, size in enumerate(tops)}
    marks: list[Mark] = []
    ends: list[float] = []
    y = 0.0  # where the last item ended
    starts: list[float] = []
    for i, item in enumerate(column.items):
        new = i == 0 or item.size != column.items[i - 1].size
        start = max(y, tops[item.size]) if new else y
        if start > y:
            marks.append(straight((0, y), (0, start)))
        marks += (_coloured(m, stages[item.size]).moved(0, start) for m in item.piece.marks)
        y = start + item.piece.height
        starts.append(start)
        ends.append(y)
    marks += _heads(column)
    rights = [item.piece.right for item in column.items]
    lefts = [item.piece.left for item in column.items]
    for skip in column.skips:
        edge = max(rights[skip.start : skip.end]) - 4
        top, bottom = starts[skip.start] + 0.58 * GAP, ends[skip.end - 1] + 0.28 * GAP
        marks.append(_arc(top, edge, edge + BULGE + 10 * skip.level, bottom, skip.look))
    if any(skip.end == len(column.items) for skip in column.skips):
        marks.append(straight((0, y), (0, y + GAP), arrow=True))
    for fold in column.folds:
        left = min(lefts[fold.start : fold.end]) - 26 * fold.level
        marks += bracket(left, starts[fold.start] + GAP / 2, ends[fold.end - 1], fold.times)
    return marks


def _arc(top: float, edge: float, out: float, bottom: float, look: str) -> Line:
    """A curve from the axis past the `edge` of the boxes out to `out`, and back."""
    far = (
        edge + (out - edge) / 0.75
    )  # a cubic curve reaches three quarters of the way to its handles
    bow = (edge, top), (far, top), (far, bottom), (edge, bottom)
    return Line(((0.0, top), *bow, (0.0, bottom)), "MLCCCL", look, arrow=True)


def _coloured(mark: Mark, stage: int) -> Mark:
    return replace(mark, stage=stage) if isinstance(mark, Box) and mark.look == "conv" else mark


def _heads(column: Column) -> list[Mark]:
    """The title, the costs and the input image."""
    net = column.network
    sums = summary.counts(net, column.input_shape)
    adds = f"{amount(sums.multiply_adds)} multiply-adds\n" if sums.multiply_adds else ""
    title = textwrap.fill(net.title or net.name, 24)
    cost = f"{adds}{amount(sums.trainable_params)} parameters"
    high = SIZES["title"] * 1.3 * (title.count("\n") + 1)
    shape = "x".join("?" if n is None else str(n) for n in column.input_shape)
    return [
        Text(0, -46 - high / 2, title, "title"),
        Text(0, -34, cost, "note"),
        Text(0, -8, f"image, {shape}", "box"),
    ]


def amount(n: int) -> str:
    """ "3.66 billion"."""
    return f"{n / 1e9:.2f} billion" if n >= 1e9 else f"{n / 1e6:.2f} million"


def _guides(tops: dict[Size, float], extent: tuple[float, float, float, float]) -> list[Mark]:
    """A pale line above the maps of each size but the first."""
    left, _, right, _ = extent
    return [
        straight((left, y - BAND / 2), (right, y - BAND / 2), look="guide")
        for y in list(tops.values())[1:]
    ]


def _legend(each: list[Column], y: float) -> list[Mark]:
    used = {skip.look for column in each for skip in column.skips}
    marks: list[Mark] = []
    for look, text in LEGEND.items():
        if look in used:
            marks.append(Line(((0, y), (24, y)), "ML", look, True))
            marks.append(Text(30, y, text, "note", "left"))
            y += 12
    return marks
