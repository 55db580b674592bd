"""Charts of runs: loss, error and learning rate by epoch, and test errors beside each other."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reslab.plots.plotly import Chart, axis, colour, dash, dots, finite, layout, named, text


@dataclass(frozen=True)
class Curves:
    """The log of a run: a row for each epoch, and for each mean over some steps.

    `rates` are points (epoch, learning rate).
    """

    name: str
    number: int  # of the colour and the dash
    epochs: Sequence[Mapping[str, Any]]
    steps: Sequence[Mapping[str, Any]]
    chosen: int | None  # epoch, by the validation images
    rates: Sequence[tuple[float, float | None]] = ()


BY_STEPS = 0.7  # opacity of the mean over some steps; style.css has it as well, for the legend
MOST_STEPS = 600  # more points than pixels only make the file larger


def thinned(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[Any], list[Any]]:
    """Return (epochs, values) of the rows that have the key, averaged down to MOST_STEPS points."""
    points = [(row["epoch"], finite(row[key])) for row in rows if row.get(key) is not None]
    size = math.ceil(len(points) / MOST_STEPS) or 1
    xs, ys = [], []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        values = [y for _, y in bucket if y is not None]
        xs.append(round(sum(x for x, _ in bucket) / len(bucket), 4))
        ys.append(sum(values) / len(values) if len(values) == len(bucket) else None)
    return xs, ys


def curves(runs: Sequence[Curves], metric: str, chart_id: str) -> Chart:
    """Chart the "loss", or the "error" in percent: training thin, validation bold."""
    scale, unit = (100, " %") if metric == "error" else (1, "")
    form = ".2f" if metric == "error" else ".4f"
    traces: list[dict[str, Any]] = []
    for run in runs:
        prefix = f"{text(run.name)}, " if len(runs) > 1 else ""
        hover = f"%{{y:{form}}}{unit}"
        line = {"color": colour(run.number), "dash": dash(run.number)}
        x, y = thinned(run.steps, metric)
        traces.append(
            _line(x, y, scale, {"color": colour(run.number), "width": 1}, opacity=BY_STEPS)
            | {"name": prefix + "training, by steps", "hoverinfo": "skip"}
        )
        for kind, key, width in (("training", "train_", 1.3), ("validation", "val_", 3)):
            rows = [row for row in run.epochs if row.get(key + metric) is not None]
            traces.append(
                _line(
                    [row["epoch"] for row in rows],
                    [finite(row[key + metric]) for row in rows],
                    scale,
                    line | {"width": width},
                )
                | {"name": prefix + kind, "hovertemplate": hover}
                | _dotted(len(rows))
            )
        traces.extend(_chosen(run, metric, scale))
    y_axis = axis(ticksuffix=unit, rangemode="tozero")
    if metric == "loss" and _wide(v for run in runs for v in _values(run.epochs, "_loss")):
        y_axis |= _powers(v for run in runs for v in _values([*run.epochs, *run.steps], "loss"))
    else:
        y_axis |= _top(runs, metric, scale)
    figure = {"data": traces, "layout": layout(_epochs(runs), y_axis, hovermode="x unified")}
    return Chart(chart_id, figure, _alt(runs, metric))


def _top(runs: Sequence[Curves], metric: str, scale: float) -> dict[str, Any]:
    """A range that the epochs fill: the first steps are far above all others."""
    ends = [v for run in runs for v in _values(run.epochs, f"_{metric}")]
    steps = [v for run in runs for row in run.steps if (v := finite(row.get(metric)))]
    if len(ends) < 2 or not steps or max(steps) < 1.5 * max(ends):
        return {}
    top = finite(1.5 * scale * max(ends))
    return {} if top is None else {"range": [0, top]}


def _values(rows: Sequence[Mapping[str, Any]], ending: str) -> list[float]:
    return [v for row in rows for k, v in row.items() if k.endswith(ending) and finite(v)]


def _wide(values: Any) -> bool:
    """Whether a linear axis would flatten the end of the curve."""
    positive = sorted(v for v in values if v > 0)
    return len(positive) > 3 and positive[-1] > 30 * positive[0]


def _powers(values: Iterable[float]) -> dict[str, Any]:
    """A log axis with a tick at every power of ten, or at every k-th so that six suffice."""
    positive = [math.log10(v) for v in values if v > 0]
    every = math.ceil((max(positive) - min(positive)) / 6) or 1 if positive else 1
    return {"type": "log", "dtick": every, "rangemode": "normal", "exponentformat": "power"}


def _epochs(runs: Sequence[Curves]) -> dict[str, Any]:
    """An axis with ticks at whole epochs."""
    last = max([row["epoch"] for run in runs for row in [*run.epochs, *run.steps]], default=1)
    return axis("epoch", showgrid=False, range=[0, max(1, last) * 1.02], hoverformat=".4~g") | (
        {"dtick": 1} if last <= 10 else {}
    )


def _line(
    x: Sequence[Any], y: Sequence[float | None], scale: float, line: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    ys = [None if v is None else finite(float(f"{v * scale:.6g}")) for v in y]
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": ys, "line": dict(line), **more}


def _chosen(run: Curves, metric: str, scale: float) -> list[dict[str, Any]]:
    """A ring around the epoch that was chosen by the validation images."""
    rows = [
        r for r in run.epochs if r["epoch"] == run.chosen and r.get(f"val_{metric}") is not None
    ]
    ring = {"size": 11, "color": "--page", "line": {"color": colour(run.number), "width": 2.5}}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [row["epoch"]],
            "y": [scale * row[f"val_{metric}"]],
            "marker": ring,
            "cliponaxis": False,
            "hoverinfo": "skip",
        }
        for row in rows
        if finite(scale * row[f"val_{metric}"]) is not None
    ]


def _alt(runs: Sequence[Curves], metric: str) -> str:
    sentences = []
    for run in runs:
        for kind, key in (("training", f"train_{metric}"), ("validation", f"val_{metric}")):
            rows = [r for r in run.epochs if finite(r.get(key)) is not None]
            if rows:
                first, last = rows[0], rows[-1]
                sentences.append(
                    f"{run.name}: {kind} {metric} {_number(first[key], metric)} after epoch "
                    f"{first['epoch']}, {_number(last[key], metric)} after epoch {last['epoch']}"
                )
    return f"Line chart of {metric} by epoch. " + "; ".join(sentences) + "."


def _number(value: float, metric: str) -> str:
    return f"{100 * value:.1f} %" if metric == "error" else f"{value:.3g}"


def rate(runs: Sequence[Curves], chart_id: str) -> Chart:
    """Chart the learning rate."""
    traces, rates = [], []
    for run in runs:
        x, y = [at for at, _ in run.rates], [value for _, value in run.rates]
        rates += [v for v in y if v]
        line = {"color": colour(run.number), "dash": dash(run.number), "width": 1.8}
        name = text(run.name) if len(runs) > 1 else "rate"
        traces.append(
            _line(x, y, 1, line) | {"name": name, "hovertemplate": "%{y:.4~g}"} | _dotted(len(x))
        )
    stepped = len({f"{v:.4g}" for v in rates}) <= 6 * len(runs)
    y_axis = axis(exponentformat="power", rangemode="tozero")
    if stepped and _wide(rates):  # a rate that drops by powers of ten
        y_axis |= _powers(rates)
    figure = {"data": traces, "layout": layout(_epochs(runs), y_axis, hovermode="x unified")}
    most = f", at most {max(rates):.3g}" if rates else ""
    return Chart(
        chart_id, figure, f"Line chart of the learning rate by epoch{most}.", "height: 13rem"
    )


def _dotted(points: int) -> dict[str, Any]:
    """Few points are dots; a single one is no line."""
    marker = {"marker": {"size": 5}}
    return {} if points > 2 else {"mode": "lines+markers" if points == 2 else "markers", **marker}


def result_dots(
    runs: Sequence[tuple[str, int, Mapping[str, float]]], measure: str, chart_id: str
) -> Chart:
    """Chart a dot for each run: (name, number of its colour, result with its interval).

    The whole name stands above its dot, so that long ones are neither cut nor broken.
    """
    rows = list(range(len(runs)))
    trace = dots([r for *_, r in runs], rows) | {
        "marker": {"size": 11, "color": [colour(number) for _, number, _ in runs]},
        "hovertext": [text(name) for name, *_ in runs],
    }
    above = {"xref": "paper", "x": 0, "xanchor": "left", "yshift": 15, "showarrow": False}
    figure = {
        "data": [trace],
        "layout": layout(
            axis(ticksuffix=" %", range=list(_ends([r for *_, r in runs]))),
            named(rows, [""] * len(rows), most=1) | {"range": [len(rows) - 0.5, -0.9]},
            annotations=[
                {**above, "y": row, "text": text(name)} for row, (name, *_) in enumerate(runs)
            ],
            margin={"l": 14, "r": 14, "t": 6, "b": 40},
        ),
    }
    sentences = "; ".join(f"{name} {100 * r['value']:.2f} %" for name, _, r in runs)
    longest = max(len(name) for name, *_ in runs)
    style = f"height: {3 + 2.8 * len(runs):.1f}rem; min-width: {0.47 * longest + 2:.0f}rem"
    return Chart(
        chart_id, figure, f"Test {measure} of each run with its interval: {sentences}.", style
    )


def _ends(errors: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """The ends of an axis in percent that the intervals fill. It begins at 0 if that is near."""
    low, high = (100 * pick(r[k] for r in errors) for pick, k in ((min, "low"), (max, "high")))
    room = 0.05 * (high - low) or 1.0
    return (0.0 if low < high / 3 else low - room), high + room
