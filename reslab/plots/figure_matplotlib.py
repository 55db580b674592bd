"""Figures as SVG, PNG and GIF files, rendered by matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from reslab.plots import grids_matplotlib, matplotlib
from reslab.plots.figure import GAPS, Figure, GridPanel, Panel, Series
from reslab.plots.matplotlib import COLOURS, DASHED, INK

EDGES = {"inf": ("^", 0.985), "nan": ("x", 0.985), "zero": ("v", 0.015)}  # marker, height
MARKERS = {
    "dot": ("o", 2.6),
    "disc": ("o", 5),
    "circle": ("o", 4.5),
    "square": ("s", 3),
    "diamond": ("D", 6),
}
OPEN = "circle", "diamond"
FAINTEST = 0.22
MOST_NAMES = 4  # a longer legend stands beside the panel
TITLE, NOTE = 9.5, 19  # letters per inch


def render(figure: Figure, stem: Path) -> tuple[Path, ...]:
    """Write STEM.svg and STEM.png."""
    wide = max(map(len, figure.rows))
    size = (
        figure.margin[0] + figure.size[0] * wide,
        figure.margin[1] + figure.size[1] * len(figure.rows),
    )
    panels = [panel for row in figure.rows for panel in row if isinstance(panel, Panel)]
    gaps = sorted({gap for panel in panels for gap in panel.gaps})
    note = figure.note + (f"  At the edge: {', '.join(map(_edge, gaps))}." if gaps else "")
    note = "\n".join(fill(line, round(NOTE * size[0])) for line in note.splitlines())
    title = fill(figure.title, round(TITLE * size[0]))
    return matplotlib.chart(stem, title, size, lambda canvas: _fill(canvas, figure), note)


def _edge(gap: str) -> str:
    signs = {GAPS["inf"]: "\u25b2", GAPS["nan"]: "\u00d7", GAPS["zero"]: "\u25bc"}
    return f"{signs[gap]} {gap}"


def _fill(canvas: Any, figure: Figure) -> None:
    wide = max(map(len, figure.rows))
    flat = not any(
        isinstance(panel, GridPanel) and panel.kind == "surface"
        for row in figure.rows
        for panel in row
    )
    grid = canvas.subplots(
        len(figure.rows),
        wide,
        sharex=figure.share_x,
        sharey=figure.share if flat else "none",
        squeeze=False,
        width_ratios=figure.widths or None,
        subplot_kw={} if flat else {"projection": "3d"},
    )
    coloured: list[tuple[Any, Any, GridPanel]] = []
    for number, (row, panels) in enumerate(zip(grid, figure.rows, strict=True)):
        for axes in row[len(panels) :]:
            axes.set_axis_off()
        for axes, panel in zip(row, panels, strict=False):
            if isinstance(panel, GridPanel):
                coloured.append((axes, grids_matplotlib.draw(axes, panel), panel))
            else:
                _panel(axes, panel)
            if axes is row[0] or figure.share == "none":
                axes.set_ylabel(panel.y.title, fontsize=9)
            if number == len(grid) - 1 or not figure.share_x:
                axes.set_xlabel(panel.x.title, fontsize=9)
    if flat:
        grids_matplotlib.colour_bars(canvas, coloured)


def _panel(axes: Any, panel: Panel) -> None:
    if panel.y.log:
        axes.set_yscale("log")
    for x in panel.breaks:
        axes.axvline(x, color="#d9dde2", linewidth=0.8, zorder=0)
    for series in panel.series:
        _series(axes, series)
    for note in panel.notes:
        look = {"color": COLOURS[note.colour], "fontsize": 8, "ha": "right", "va": "center"}
        axes.text(note.x, note.y, note.text, transform=axes.get_yaxis_transform(), **look)
    for axis, limit in ((panel.x, axes.set_xlim), (panel.y, axes.set_ylim)):
        if (axis.low, axis.high) != (
            None,
            None,
        ):  # without limits, axes that panels share must stay free
            limit(axis.low, axis.high)
    if panel.x.whole:
        axes.xaxis.get_major_locator().set_params(integer=True)
    for axis, ticks in ((axes.xaxis, panel.x.ticks), (axes.yaxis, panel.y.ticks)):
        if ticks:
            axis.set_ticks([at for at, _ in ticks], labels=[text for _, text in ticks])
            axis.set_ticks([], minor=True)
    if panel.title:
        axes.set_title(panel.title, fontsize=10, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(which="both", labelsize=8)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#eceef1", linewidth=0.7)
    _legend(axes, panel)


def _legend(axes: Any, panel: Panel) -> None:
    names = sum(bool(series.name) and series.in_legend for series in panel.series)
    look = {"fontsize": 8, "frameon": False}
    if not names or panel.legend == "none":
        return
    if panel.legend == "below":
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.1), ncols=names, **look)
    elif names > MOST_NAMES:  # it would lie on the lines
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), **{**look, "fontsize": 7.5})
    else:
        axes.legend(loc="best", **look)


def _series(axes: Any, series: Series) -> None:
    colour = COLOURS[series.colour % len(COLOURS)]
    alpha = FAINTEST + (1 - FAINTEST) * series.shade
    y = _numbers(series.y)
    shown = bool(series.name) and series.in_legend
    look: dict[str, Any] = {"color": colour, "alpha": alpha, "label": series.name if shown else "_"}
    look["linewidth"] = series.width
    look["linestyle"] = "none" if not series.width else DASHED if series.dashed else "-"
    if series.marked != "none":
        look["marker"], look["markersize"] = MARKERS[series.marked]
        if series.marked in OPEN:
            look["markerfacecolor"] = "white" if series.width else "none"
    if series.bars and series.low:
        along = series.x if series.bars == "x" else y
        low, high = _numbers(series.low), _numbers(series.high)
        reach = [[v - a for v, a in zip(along, low, strict=True)]]
        reach += [[b - v for v, b in zip(along, high, strict=True)]]
        bars = {"capsize": 2.5, "elinewidth": 1, "zorder": 3}
        axes.errorbar(series.x, y, **{f"{series.bars}err": reach}, **bars, **look)
    else:
        axes.plot(series.x, y, **look)
        if series.low:
            band = {"color": colour, "alpha": 0.15 * alpha, "linewidth": 0}
            axes.fill_between(series.x, _numbers(series.low), _numbers(series.high), **band)
    _gaps(axes, series, {"color": colour, "alpha": alpha, "markersize": 4.5})


def _gaps(axes: Any, series: Series, look: dict[str, Any]) -> None:
    """Mark at the edge of the panel what the axis cannot show."""
    for kind, (marker, height) in EDGES.items():
        places = [x for x, gap in series.gaps if gap == kind]
        if places:
            look = {**look, "transform": axes.get_xaxis_transform(), "clip_on": False}
            axes.plot(places, [height] * len(places), marker, **look)


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def film(path: Path, frames: Sequence[GridPanel], still: int = 8) -> Path:
    """Write a GIF of panels that have one colour scale; the last is shown for `still` frames."""
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.figure import Figure as Canvas

    from reslab.core.files import write

    with matplotlib.style():
        canvas = Canvas(figsize=(5.6, 4.6), dpi=110, facecolor="white", layout="constrained")
        axes = canvas.add_subplot()

        def frame(number: int) -> list[Any]:
            axes.clear()
            panel = frames[min(number, len(frames) - 1)]
            coloured.append((axes, grids_matplotlib.draw(axes, panel), panel))
            axes.set_xlabel(panel.x.title, fontsize=9)
            axes.set_ylabel(panel.y.title, fontsize=9)
            return []

        coloured: list[tuple[Any, Any, GridPanel]] = []
        frame(0)
        grids_matplotlib.colour_bars(canvas, coloured)
        animation = FuncAnimation(canvas, frame, frames=len(frames) + still, interval=160)
        write(path, lambda temp: animation.save(temp, writer=PillowWriter(fps=6)))
    return path
