"""Panels of lines as SVG and PNG, by matplotlib."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

from reslab.plots import matplotlib
from reslab.plots.figure import MARKS, Figure, Panel, Series
from reslab.plots.matplotlib import COLOURS, DASHED

EDGES = {"inf": ("^", 0.985), "nan": ("x", 0.985), "zero": ("v", 0.015)}  # marker, part of height
FAINTEST = 0.22
MANY = 4  # names inside a panel
TITLE, NOTE = 9.5, 19  # letters an inch


def draw(figure: Figure, stem: Path) -> tuple[Path, ...]:
    """STEM.svg and STEM.png."""
    high, wide = len(figure.rows), max(map(len, figure.rows))
    size = (0.5 + figure.size[0] * wide, 0.8 + figure.size[1] * high)

    def panels(canvas: Any) -> None:
        grid = canvas.subplots(high, wide, sharey=figure.share, squeeze=False)
        for places, panels in zip(grid, figure.rows, strict=True):
            for axes in places[len(panels) :]:
                axes.set_axis_off()
            for axes, panel in zip(places, panels, strict=False):
                _panel(axes, panel)
            places[0].set_ylabel(panels[0].y, fontsize=9)

    lost = sorted({word for row in figure.rows for panel in row for word in panel.lost})
    note = figure.note + (f"  At the edge: {', '.join(map(_edge, lost))}." if lost else "")
    title = fill(figure.title, round(TITLE * size[0]))
    return matplotlib.chart(stem, title, size, panels, fill(note, round(NOTE * size[0])))


def _edge(word: str) -> str:
    signs = {MARKS["inf"]: "\u25b2", MARKS["nan"]: "\u00d7", MARKS["zero"]: "\u25bc"}
    return f"{signs[word]} {word}"


def _panel(axes: Any, panel: Panel) -> None:
    if panel.log:
        axes.set_yscale("log")
    for x in panel.breaks:
        axes.axvline(x, color="#d9dde2", linewidth=0.8, zorder=0)
    for series in panel.series:
        _series(axes, series)
    if panel.floor is not None:
        axes.set_ylim(bottom=panel.floor)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_title(panel.title, fontsize=10, color=matplotlib.INK)
    axes.set_xlabel(panel.x, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#eceef1", linewidth=0.7)
    named = sum(bool(series.name) for series in panel.series)
    if named > MANY:  # they would lie on the lines
        axes.legend(fontsize=7.5, frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    elif named:
        axes.legend(fontsize=7.5, frameon=False, loc="best")


def _series(axes: Any, series: Series) -> None:
    colour = COLOURS[series.number % len(COLOURS)]
    alpha = FAINTEST + (1 - FAINTEST) * series.shade
    y = [float("nan") if v is None else v for v in series.y]
    look: dict[str, Any] = {"color": colour, "alpha": alpha, "label": series.name or "_"}
    if series.dots:
        axes.plot(series.x, y, "o", markersize=4.5, markerfacecolor="none", **look)
    else:
        style = DASHED if series.dashed else "-"
        few = "o" if 1 < len(series.x) <= 60 and not series.dashed else None
        axes.plot(series.x, y, marker=few, markersize=2.6, linewidth=1.4, linestyle=style, **look)
    if series.low:
        low, high = (
            [float("nan") if v is None else v for v in b] for b in (series.low, series.high)
        )
        axes.fill_between(series.x, low, high, color=colour, alpha=0.15 * alpha, linewidth=0)
    for kind, (marker, height) in EDGES.items():
        places = [x for x, why in series.lost if why == kind]
        over = axes.get_xaxis_transform()
        if places:
            axes.plot(
                places,
                [height] * len(places),
                marker,
                color=colour,
                alpha=alpha,
                markersize=4.5,
                transform=over,
                clip_on=False,
            )
