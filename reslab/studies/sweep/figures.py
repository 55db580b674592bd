"""The figures of studies that train several networks, described for both renderers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from reslab.plots.figure import Axis, Note, Panel, Series, names_axis
from reslab.studies.sweep.results import FAIL, Result, Spread

Points = Sequence[tuple[int, Spread]]
MOST = 400  # points of a curve
BOLD, THIN = 2.2, 0.9  # points: test, and training, which is dashed


@dataclass(frozen=True)
class ErrorCurves:
    """The errors of one network by step."""

    label: str
    colour: int
    train: Points
    test: Points


def curves(results: Mapping[str, Result], labels: Mapping[str, str]) -> list[ErrorCurves]:
    """The curves of the cases that `labels` names and that were trained, in its order."""
    return [
        ErrorCurves(label, number, thinned(result.curve("train")), thinned(result.curve("test")))
        for number, (name, label) in enumerate(labels.items())
        if (result := results.get(name)) is not None
    ]


def thinned(points: Points) -> Points:
    """At most `MOST` points: means over neighbours, of their steps and of each seed's errors."""
    size = math.ceil(len(points) / MOST) or 1
    if size == 1:
        return points
    means = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        seeds = zip(*(spread.values for _, spread in bucket), strict=True)
        step = round(fmean(step for step, _ in bucket))
        means.append((step, Spread(tuple(fmean(values) for values in seeds))))
    return means


def highest_error(drawn: Iterable[ErrorCurves]) -> float:
    """The end of the error axis, in percent: the first tenth of a training may go beyond it."""
    values = []
    for each in drawn:
        for points in (each.train, each.test):
            last = points[-1][0] if points else 0
            values += [spread.high for step, spread in points if step >= 0.1 * last]
    if not values:
        return 100.0
    typical = sorted(values)[math.ceil(0.95 * len(values)) - 1]
    return min(100.0, 115 * typical) or 1.0


def errors(title: str, drawn: Sequence[ErrorCurves], top: float) -> Panel:
    """Error by iteration, as in He et al. 2015, Fig. 6: training thin and dashed, test bold."""
    series, ends = [], []
    for each in drawn:
        for name, points, width in (("training", each.train, THIN), ("test", each.test, BOLD)):
            series.append(
                Series(
                    f"{each.label}, {name}",
                    each.colour,
                    [step for step, _ in points],
                    [_percent(spread.mean) for _, spread in points],
                    **_ends([spread for _, spread in points]),
                    width=width,
                    dashed=width == THIN,
                    marker="disc" if len(points) < 3 else "none",
                )
            )
            if points:
                error = 100 * points[-1][1].mean
                ends.append(f"{each.label}: {name} error {error:.1f} % at the end")
    x = Axis("iterations", low=0, whole=True)
    y = Axis("error", unit=" %", low=0, high=top)
    return Panel(title, x, y, series, alt=f"{title}, error by iteration. {'; '.join(ends)}.")


@dataclass(frozen=True)
class ByDepth:
    """The final errors of one kind of network: (layers, errors)."""

    name: str
    colour: int
    test: bool
    points: Points


def by_depth(lines: Sequence[ByDepth]) -> Panel:
    """Error at the end against the number of layers."""
    depths = sorted({depth for line in lines for depth, _ in line.points}) or [0]
    middle = (len(lines) - 1) / 2
    series, ends = [], []
    for number, line in enumerate(lines):
        # so that error bars stand side by side
        shift = (number - middle) * 0.012 * (depths[-1] - depths[0])
        series.append(
            Series(
                line.name,
                line.colour,
                [depth + shift for depth, _ in line.points],
                [_percent(spread.mean) for _, spread in line.points],
                **_ends([spread for _, spread in line.points]),
                bars="y",
                hover=[f"{depth} layers" for depth, _ in line.points],
                width=BOLD if line.test else THIN,
                dashed=not line.test,
                marker="disc" if line.test else "circle",
            )
        )
        ends += [
            f"{line.name} {100 * spread.mean:.1f} % with {depth} layers"
            for depth, spread in line.points
        ]
    margin = 0.12 * (depths[-1] - depths[0]) or 1
    x = Axis(
        "layers",
        low=depths[0] - margin,
        high=depths[-1] + margin,
        ticks=[(depth, str(depth)) for depth in depths],
    )
    alt = f"Error at the end by depth: {'; '.join(ends)}."
    return Panel("", x, Axis("error at the end", unit=" %"), series, alt=alt)


def cases(
    names: Sequence[str],
    measured: Sequence[Spread | None],
    published: Sequence[float | str],
) -> Panel:
    """A row for each case: the measured test error, and the published one, in percent.

    Notes at the right name the cases without a number.
    """
    points = [(row, spread) for row, spread in enumerate(measured) if spread is not None]
    quoted = [(row, e) for row, e in enumerate(published) if not isinstance(e, str)]
    here = Series(
        "measured here",
        0,
        [_percent(spread.mean) for _, spread in points],
        [row for row, _ in points],
        **_ends([spread for _, spread in points]),
        bars="x",
        hover=[names[row] for row, _ in points],
        width=0,
        marker="disc",
    )
    paper = Series(
        "published",
        1,
        [error for _, error in quoted],
        [row for row, _ in quoted],
        hover=[names[row] for row, _ in quoted],
        bars="x",
        width=0,
        marker="diamond",
    )
    notes = []
    for row, (mine, other) in enumerate(zip(measured, published, strict=True)):
        texts = [(other, 1)] if isinstance(other, str) else []
        texts += [(FAIL, 0)] if mine is None else []
        notes += [Note(row, text, c, 0.99 - 0.08 * i) for i, (text, c) in enumerate(texts)]
    most = max([*here.x, *(v for v in here.high if v is not None), *paper.x], default=1.0)
    x = Axis("test error", unit=" %", low=0, high=1.17 * most)
    listed = "; ".join(f"{names[row]} {100 * spread.mean:.2f} %" for row, spread in points)
    alt = f"Test error of each case, measured: {listed}."
    return Panel("", x, names_axis(names), [here, paper], notes=notes, legend="below", alt=alt)


def _ends(spreads: Sequence[Spread]) -> dict[str, Any]:
    """Mean - s and mean + s, where there are several seeds."""
    if all(spread.n < 2 for spread in spreads):
        return {}
    return {
        "low": [_percent(max(0.0, spread.low)) for spread in spreads],
        "high": [_percent(spread.high) for spread in spreads],
    }


def _percent(part: float) -> float:
    return float(f"{100 * part:.6g}")
