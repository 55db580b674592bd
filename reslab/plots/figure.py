"""The description of a figure: rows of panels with lines or with numbers on a grid.

`figure_matplotlib` and `figure_plotly` render the same description.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from reslab.plots import scales
from reslab.plots.format import listed

GAPS = {"inf": "infinite", "nan": "not a number", "zero": "zero"}


@dataclass(frozen=True)
class Axis:
    """An axis. What is not given is chosen by the renderer.

    `low` and `high` are the ends of the axis; with `low` above `high` it runs downwards.
    """

    label: str = ""
    unit: str = ""  # follows each number: " %"
    log: bool = False
    whole: bool = False  # ticks at whole numbers only
    low: float | None = None
    high: float | None = None
    ticks: Sequence[tuple[float, str]] = ()  # (position, text)

    @property
    def title(self) -> str:
        """The label with the unit, where the ticks do not show the unit."""
        return f"{self.label}, {self.unit.strip()}" if self.unit else self.label


def loss_axis(label: str, losses: Sequence[np.ndarray]) -> Axis:
    """A logarithmic axis with ticks at round losses."""
    ticks = scales.log_ticks(*scales.log_range(losses))
    return Axis(label, log=True, ticks=[(tick, f"{tick:g}") for tick in ticks])


def names_axis(names: Sequence[str]) -> Axis:
    """One name per row 0, 1, ..., from the top down."""
    return Axis(low=len(names) - 0.4, high=-0.6, ticks=list(enumerate(names)))


@dataclass(frozen=True)
class Series:
    """One line, or points without a line.

    `y` is None where the axis cannot show the value; `gaps` says why. `low` and `high` bound a band
    around y, or the error bars along the axis that `bars` names.
    """

    name: str
    colour: int  # a number, see `matplotlib.COLOURS`
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    gaps: Sequence[tuple[float, str]] = ()  # (x, a key of GAPS)
    hover: Sequence[str] = ()  # a text for each point
    shade: float = 1.0  # 0 (faint) to 1
    width: float = 1.4  # of the line, points; 0 for no line
    dashed: bool = False
    marker: Literal["auto", "none", "dot", "disc", "circle", "square", "diamond"] = "auto"
    bars: Literal["", "x", "y"] = ""
    in_legend: bool = True

    @property
    def marked(self) -> str:
        """The marker. Short solid lines have dots by default."""
        if self.marker != "auto":
            return self.marker
        return "dot" if 1 < len(self.x) <= 60 and not self.dashed else "none"


@dataclass(frozen=True)
class Note:
    """A text at height y, right-aligned at `x`, a fraction of the panel's width."""

    y: float
    text: str
    colour: int
    x: float = 0.99


@dataclass(frozen=True)
class Panel:
    """Lines over a common x axis."""

    title: str
    x: Axis
    y: Axis
    series: Sequence[Series]
    breaks: Sequence[float] = ()  # x of vertical lines: a new stage of the network begins
    notes: Sequence[Note] = ()
    legend: Literal["best", "below", "none"] = "best"  # of the picture; charts always have one
    alt: str = ""  # read aloud in place of the chart; "" for the first and last values
    square: bool = False  # in a page

    @property
    def gaps(self) -> list[str]:
        """The kinds of values that cannot be drawn."""
        kinds = {kind for series in self.series for _, kind in series.gaps}
        return [text for kind, text in GAPS.items() if kind in kinds]


@dataclass(frozen=True)
class ColourScale:
    """The colours of a grid, which several panels can share."""

    quantity: str  # one word
    label: str  # of the colour bar
    low: float  # of the values, or of their log10
    high: float
    log: bool = False
    colours: str = "viridis"
    clipped: bool = False  # values above `high` exist, and have its colour

    def position(self, values: np.ndarray) -> np.ndarray:
        """Values as they are drawn; NaN where they are not finite."""
        return scales.log10(values) if self.log else np.where(np.isfinite(values), values, np.nan)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """(position, text) at round values of a logarithmic scale; none for a linear one."""
        if not self.log:
            return []
        return [(float(np.log10(t)), f"{t:g}") for t in scales.log_ticks(self.low, self.high)]


@dataclass(frozen=True)
class Track:
    """A path over a grid, with a text for each of its points."""

    x: Sequence[float]
    y: Sequence[float]
    hover: Sequence[str]


@dataclass(frozen=True)
class GridPanel:
    """Numbers on a grid: `values[i, j]` at (a[i], b[j]). What is not finite stays blank."""

    title: str
    x: Axis
    y: Axis
    a: np.ndarray
    b: np.ndarray
    values: np.ndarray
    scale: ColourScale
    kind: Literal["contour", "cells", "surface"] = "contour"
    centre: bool = False  # mark (0, 0)
    track: Track | None = None
    alt: str = ""

    def ends(self, steps: np.ndarray) -> tuple[float, float]:
        """The ends of an axis: cells reach half a step beyond their middle."""
        half = (steps[1] - steps[0]) / 2 if self.kind == "cells" else 0.0
        return float(steps[0] - half), float(steps[-1] + half)


@dataclass(frozen=True)
class Figure:
    """Panels row by row, with a title, and a note below. Sizes are in inches."""

    title: str
    note: str
    rows: Sequence[Sequence[Panel | GridPanel]]
    share: Literal["all", "row", "none"] = "all"  # y axes
    size: tuple[float, float] = (4.6, 3.0)  # of a panel
    margin: tuple[float, float] = (0.5, 0.8)  # of the figure around its panels
    share_x: bool = False
    widths: Sequence[float] = ()  # of the columns, relative to each other


def over_seeds(
    name: str,
    colour: int,
    x: Sequence[float],
    values: np.ndarray,
    log: bool = True,
    **more: Any,
) -> Series:
    """The median of `values` (seeds, points), with a band from the smallest to the largest.

    A point is a gap where any seed has no finite value there, or zero on a logarithmic axis.
    """
    y: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    gaps: list[tuple[float, str]] = []
    for position, column in zip(x, values.T, strict=True):
        gap = _gap(column, log)
        if gap:
            gaps.append((position, gap))
        y.append(None if gap else _rounded(np.median(column)))
        low.append(None if gap else _rounded(column.min()))
        high.append(None if gap else _rounded(column.max()))
    line = Series(name, colour, list(x), y, gaps=gaps, **more)
    return replace(line, low=low, high=high) if len(values) > 1 else line


def _gap(column: np.ndarray, log: bool) -> str:
    if np.isnan(column).any():
        return "nan"
    if np.isinf(column).any():
        return "inf"
    return "zero" if log and (column <= 0).any() else ""


def _rounded(x: float) -> float:
    return float(f"{x:.5g}")


def samples(entries: Iterable[Mapping[str, Any]]) -> str:
    """A text that names the images on which the entries were measured."""
    return listed(dict.fromkeys(entry["said"] for entry in entries))


RESIDUAL, OTHERS = (0, 2, 5, 7), (1, 4, 3, 6)  # cold colours, and warm ones


def colours(residual: Sequence[bool]) -> list[int]:
    """A colour for each network: cold for residual ones, warm for others."""
    numbers = []
    for i, each in enumerate(residual):
        palette = RESIDUAL if each else OTHERS
        numbers.append(palette[sum(other == each for other in residual[:i]) % len(palette)])
    return numbers
