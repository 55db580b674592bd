"""What is drawn, as values: lines in panels, for matplotlib and for Plotly alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from reslab.plots.format import listed

MARKS = {"inf": "infinite", "nan": "not a number", "zero": "zero"}


@dataclass(frozen=True)
class Series:
    """One line. `y` is None where there is no number that the axis can show; `lost` says why.

    `number` is the colour, `shade` how strong it is: 0 to 1. `low` and `high` bound a band.
    """

    name: str
    number: int
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] = ()
    high: Sequence[float | None] = ()
    lost: Sequence[tuple[float, str]] = ()  # (x, a key of MARKS)
    said: Sequence[str] = ()  # of each point, for who hovers over it
    shade: float = 1.0
    dashed: bool = False
    dots: bool = False  # points that no line connects


@dataclass(frozen=True)
class Panel:
    """`breaks` are places on the x axis where another stage of the network begins."""

    title: str
    x: str
    y: str
    series: Sequence[Series]
    log: bool = False
    breaks: Sequence[float] = ()
    unit: str = ""  # of y, behind a number
    floor: float | None = None  # where the y axis begins

    @property
    def lost(self) -> list[str]:
        """What there is of values that cannot be drawn."""
        kinds = {kind for series in self.series for _, kind in series.lost}
        return [words for kind, words in MARKS.items() if kind in kinds]


@dataclass(frozen=True)
class Figure:
    """Panels row by row, with a title, and a note below."""

    title: str
    note: str
    rows: Sequence[Sequence[Panel]]
    share: Literal["all", "row"] = "all"  # y axes
    size: tuple[float, float] = (4.6, 3.0)  # of a panel, inches


def over_seeds(
    name: str,
    number: int,
    x: Sequence[float],
    values: np.ndarray,
    log: bool = True,
    **more: Any,
) -> Series:
    """The median of (seeds, points) with the band from smallest to largest.

    A point that is no number for some seed, or zero for some on a logarithmic axis, is lost.
    """
    y: list[float | None] = []
    low: list[float | None] = []
    high: list[float | None] = []
    lost: list[tuple[float, str]] = []
    for place, column in zip(x, values.T, strict=True):
        why = _why(column, log)
        if why:
            lost.append((place, why))
        y.append(None if why else _short(np.median(column)))
        low.append(None if why else _short(column.min()))
        high.append(None if why else _short(column.max()))
    line = Series(name, number, list(x), y, lost=lost, **more)
    return replace(line, low=low, high=high) if len(values) > 1 else line


def _why(column: np.ndarray, log: bool) -> str:
    if np.isnan(column).any():
        return "nan"
    if np.isinf(column).any():
        return "inf"
    return "zero" if log and (column <= 0).any() else ""


def _short(x: float) -> float:
    return float(f"{x:.5g}")


def samples(entries: Iterable[Mapping[str, Any]]) -> str:
    """The images that these were measured on, in words."""
    return listed(dict.fromkeys(entry["said"] for entry in entries))


RESIDUAL, OTHERS = (0, 2, 5, 7), (1, 4, 3, 6)  # blues and greens, and warm ones


def colours(residual: Sequence[bool]) -> list[int]:
    """A colour each: residual nets have theirs, whatever stands beside them."""
    found = []
    for i, each in enumerate(residual):
        before = sum(other == each for other in residual[:i])
        mine = RESIDUAL if each else OTHERS
        found.append(mine[before % len(mine)])
    return found


def numbers(panels: Sequence[Panel]) -> list[float]:
    """Everything drawn, so that panels can share an axis."""
    return [
        v
        for panel in panels
        for series in panel.series
        for v in (*series.y, *series.low, *series.high)
        if v is not None and math.isfinite(v)
    ]
