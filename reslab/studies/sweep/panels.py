"""What the charts of the page and the pictures in files have in common: curves in panels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from reslab.studies.sweep.results import Result, Spread

Points = Sequence[tuple[int, Spread]]
Line = tuple[str, int, bool, Points]  # by depth: name, colour, whether of the test, errors
MOST = 400  # points of a curve; more are not to be seen


@dataclass(frozen=True)
class Curve:
    """Errors by step of one network; `number` is which colour."""

    label: str
    number: int
    train: Points
    test: Points


@dataclass(frozen=True)
class Panel:
    title: str
    curves: Sequence[Curve]


def panel(title: str, results: Mapping[str, Result], labels: Mapping[str, str]) -> Panel:
    """The curves of the cases that `labels` names and that were trained, in its order."""
    curves = [
        Curve(label, number, thinned(found.curve("train")), thinned(found.curve("test")))
        for number, (name, label) in enumerate(labels.items())
        if (found := results.get(name)) is not None
    ]
    return Panel(title, curves)


def thinned(points: Points) -> Points:
    """No more than `MOST` points, each the mean of as many: of its steps, and seed by seed."""
    size = math.ceil(len(points) / MOST) or 1
    if size == 1:
        return points
    found = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        seeds = zip(*(spread.values for _, spread in bucket), strict=True)
        step = round(fmean(step for step, _ in bucket))
        found.append((step, Spread(tuple(fmean(values) for values in seeds))))
    return found


def top(panels: Iterable[Panel]) -> float:
    """Where the error's axis ends, in percent: the first tenth of a training is off any scale."""
    values = []
    for each in panels:
        for curve in each.curves:
            for points in (curve.train, curve.test):
                last = points[-1][0] if points else 0
                values += [spread.high for step, spread in points if step >= 0.1 * last]
    if not values:
        return 100.0
    typical = sorted(values)[math.ceil(0.95 * len(values)) - 1]
    return min(100.0, 115 * typical) or 1.0


def aside(lines: Sequence[Line]) -> list[float]:
    """How far, in layers, each line is moved so that their error bars stand side by side."""
    depths = [depth for *_, points in lines for depth, _ in points] or [0]
    middle = (len(lines) - 1) / 2
    return [(i - middle) * 0.012 * (max(depths) - min(depths)) for i in range(len(lines))]
