"""The charts, as Plotly's JSON: plain dicts, so that writing a report needs no Plotly objects.

Colours are names of CSS custom properties ("--run-0"); the page's script puts in their values, so
that a chart follows the light or dark look of the page around it.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

RUN_COLOURS = 8  # --run-0 ... --run-7 in report/templates/style.css
LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


@dataclass(frozen=True)
class Chart:
    """A figure and what the page says about it."""

    id: str
    figure: dict[str, Any]
    label: str  # read aloud in place of the picture
    style: str = "height: 20rem"


def text(words: object) -> str:
    """A user's words for Plotly, which reads tags, entities and `%{...}` in its texts."""
    return html.escape(str(words), quote=False).replace("%{", "%&#123;")


def shortened(words: str, most: int) -> str:
    return text(words if len(words) <= most else words[: most - 1].rstrip() + "…")


def finite(number: float | None) -> float | None:
    """JSON knows neither NaN nor infinity; a curve has a gap there."""
    return float(number) if number is not None and math.isfinite(number) else None


def colour(run: int) -> str:
    return f"--run-{run % RUN_COLOURS}"


def dash(run: int) -> str:
    return DASHES[run % len(DASHES)]


def axis(title: str = "", **more: Any) -> dict[str, Any]:
    return {
        "title": {"text": title, "standoff": 8, "font": {"size": 12}},
        "gridcolor": "--grid",
        "linecolor": "--rule",
        "zeroline": False,
        "ticks": "",
        "automargin": True,
        "fixedrange": True,  # a finger that scrolls the page must not drag the chart
        **more,
    }


def layout(x: Mapping[str, Any], y: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "xaxis": x,
        "yaxis": y,
        "margin": {"l": 48, "r": 14, "t": 10, "b": 40},
        "paper_bgcolor": "--clear",
        "plot_bgcolor": "--clear",
        "font": {"color": "--muted", "size": 12, "family": "--font"},
        "hoverlabel": {
            "bgcolor": "--page",
            "bordercolor": "--rule",
            "font": {"color": "--ink", "family": "--font", "size": 12},
        },
        "showlegend": False,
        "dragmode": False,
        **more,
    }


# ------------------------------------------------------------------------------------- curves


@dataclass(frozen=True)
class Curves:
    """What the log of a run says, one entry a row; `steps` are means over some steps."""

    name: str
    number: int  # which colour and dash
    epochs: Sequence[Mapping[str, Any]]
    steps: Sequence[Mapping[str, Any]]
    chosen: int | None


MOST_STEPS = 600  # more points than a chart has pixels only make the file larger


def thinned(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[list[Any], list[Any]]:
    """(epochs, values) of the rows that have the key, averaged down to MOST_STEPS."""
    points = [(row["epoch"], finite(row[key])) for row in rows if row.get(key) is not None]
    size = math.ceil(len(points) / MOST_STEPS) or 1
    xs, ys = [], []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        values = [y for _, y in bucket if y is not None]
        xs.append(round(sum(x for x, _ in bucket) / len(bucket), 4))
        ys.append(sum(values) / len(values) if len(values) == len(bucket) else None)
    return xs, ys


def curves(runs: Sequence[Curves], what: str, chart_id: str) -> Chart:
    """`what` is "loss" or "error" (drawn in percent), of training thin, of validation bold."""
    scale, unit = (100, " %") if what == "error" else (1, "")
    form = ".2f" if what == "error" else ".4f"
    traces: list[dict[str, Any]] = []
    for run in runs:
        prefix = f"{text(run.name)}, " if len(runs) > 1 else ""
        hover = f"%{{y:{form}}}{unit}"
        line = {"color": colour(run.number), "dash": dash(run.number)}
        x, y = thinned(run.steps, what)
        traces.append(
            _line(x, y, scale, {"color": colour(run.number), "width": 1}, opacity=0.3)
            | {"hoverinfo": "skip"}
        )
        for kind, key, width in (("training", "train_", 1.3), ("validation", "val_", 3)):
            rows = [row for row in run.epochs if row.get(key + what) is not None]
            traces.append(
                _line(
                    [row["epoch"] for row in rows],
                    [finite(row[key + what]) for row in rows],
                    scale,
                    line | {"width": width},
                )
                | {"name": prefix + kind, "hovertemplate": hover}
                | ({"mode": "lines+markers", "marker": {"size": 5}} if len(rows) < 3 else {})
            )
        traces.extend(_chosen(run, what, scale))
    y_axis = axis(ticksuffix=unit, rangemode="tozero")
    if what == "loss" and _wide(v for run in runs for v in _values(run.epochs, "_loss")):
        y_axis |= _powers(v for run in runs for v in _values([*run.epochs, *run.steps], "loss"))
    else:
        y_axis |= _top(runs, what, scale)
    figure = {"data": traces, "layout": layout(_epochs(runs), y_axis, hovermode="x unified")}
    return Chart(chart_id, figure, _spoken(runs, what))


def _top(runs: Sequence[Curves], what: str, scale: float) -> dict[str, Any]:
    """A range that the epochs fill: the first steps of a training are off any scale."""
    ends = [v for run in runs for v in _values(run.epochs, f"_{what}")]
    steps = [v for run in runs for row in run.steps if (v := finite(row.get(what)))]
    if len(ends) < 2 or not steps or max(steps) < 1.5 * max(ends):
        return {}
    return {"range": [0, 1.5 * scale * max(ends)]}


def _values(rows: Sequence[Mapping[str, Any]], ending: str) -> list[float]:
    return [v for row in rows for k, v in row.items() if k.endswith(ending) and finite(v)]


def _wide(values: Any) -> bool:
    """Whether values span so much that a linear axis would flatten the end of the curve."""
    positive = sorted(v for v in values if v > 0)
    return len(positive) > 3 and positive[-1] > 30 * positive[0]


def _powers(values: Iterable[float]) -> dict[str, Any]:
    """A log axis with a tick at every power of ten, or at every so many that six are enough."""
    positive = [math.log10(v) for v in values if v > 0]
    every = math.ceil((max(positive) - min(positive)) / 6) or 1 if positive else 1
    return {"type": "log", "dtick": every, "rangemode": "normal", "exponentformat": "power"}


def _epochs(runs: Sequence[Curves]) -> dict[str, Any]:
    """An axis of whole epochs."""
    last = max([row["epoch"] for run in runs for row in [*run.epochs, *run.steps]], default=1)
    return axis("epoch", showgrid=False, range=[0, max(1, last) * 1.02], hoverformat=".4~g") | (
        {"dtick": 1} if last <= 10 else {}
    )


def _line(
    x: Sequence[Any], y: Sequence[float | None], scale: float, line: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    ys = [None if v is None else float(f"{v * scale:.6g}") for v in y]
    return {"type": "scatter", "mode": "lines", "x": list(x), "y": ys, "line": dict(line), **more}


def _chosen(run: Curves, what: str, scale: float) -> list[dict[str, Any]]:
    """A ring around the epoch that was chosen on validation."""
    rows = [r for r in run.epochs if r["epoch"] == run.chosen and r.get(f"val_{what}") is not None]
    ring = {"size": 11, "color": "--page", "line": {"color": colour(run.number), "width": 2.5}}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [row["epoch"]],
            "y": [scale * row[f"val_{what}"]],
            "marker": ring,
            "cliponaxis": False,
            "hoverinfo": "skip",
        }
        for row in rows
        if finite(row[f"val_{what}"]) is not None
    ]


def _spoken(runs: Sequence[Curves], what: str) -> str:
    said = []
    for run in runs:
        for kind, key in (("training", f"train_{what}"), ("validation", f"val_{what}")):
            rows = [r for r in run.epochs if finite(r.get(key)) is not None]
            if rows:
                first, last = rows[0], rows[-1]
                said.append(
                    f"{run.name}: {kind} {what} {_told(first[key], what)} after epoch "
                    f"{first['epoch']}, {_told(last[key], what)} after epoch {last['epoch']}"
                )
    return f"Line chart of {what} by epoch. " + "; ".join(said) + "."


def _told(value: float, what: str) -> str:
    return f"{100 * value:.1f} %" if what == "error" else f"{value:.3g}"


def rate(runs: Sequence[Curves], chart_id: str) -> Chart:
    """The learning rate, by steps where they were logged, else by epochs."""
    traces, every = [], []
    for run in runs:
        x, y = thinned(run.steps if len(run.steps) > 1 else run.epochs, "rate")
        every += [v for v in y if v]
        line = {"color": colour(run.number), "dash": dash(run.number), "width": 1.8}
        name = text(run.name) if len(runs) > 1 else "rate"
        traces.append(
            _line(x, y, 1, line)
            | {"name": name, "hovertemplate": "%{y:.4~g}"}
            | ({"mode": "lines+markers", "marker": {"size": 5}} if len(x) < 3 else {})
        )
    stepped = len({f"{v:.4g}" for v in every}) <= 6 * len(runs)
    y_axis = axis(exponentformat="power", rangemode="tozero")
    if stepped and _wide(every):  # a rate that falls in powers of ten
        y_axis |= _powers(every)
    figure = {"data": traces, "layout": layout(_epochs(runs), y_axis, hovermode="x unified")}
    most = f", at most {max(every):.3g}" if every else ""
    return Chart(
        chart_id, figure, f"Line chart of the learning rate by epoch{most}.", "height: 13rem"
    )


def error_dots(runs: Sequence[tuple[str, int, Mapping[str, float]]], chart_id: str) -> Chart:
    """One dot a run, (name, number, rate with its interval)."""
    rows = list(range(len(runs)))
    trace = dots([r for *_, r in runs], rows) | {
        "marker": {"size": 11, "color": [colour(number) for _, number, _ in runs]},
        "hovertext": [text(name) for name, *_ in runs],
    }
    figure = {
        "data": [trace],
        "layout": layout(
            axis(ticksuffix=" %", rangemode="tozero"),
            named(rows, [name for name, *_ in runs], most=28),
        ),
    }
    said = "; ".join(f"{name} {100 * r['value']:.2f} %" for name, _, r in runs)
    height = f"height: {2.6 + 1.9 * len(runs):.1f}rem"
    return Chart(chart_id, figure, f"Test error of each run with its interval: {said}.", height)


def dots(rates: Sequence[Mapping[str, Any]], rows: Sequence[int]) -> dict[str, Any]:
    """Horizontal dots with 95 % intervals, in percent."""
    values = [100 * (r["value"] if "value" in r else r["error"]) for r in rates]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": list(rows),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [100 * r["high"] - v for r, v in zip(rates, values, strict=True)],
            "arrayminus": [v - 100 * r["low"] for r, v in zip(rates, values, strict=True)],
            "color": "--faint",
            "thickness": 1.6,
            "width": 0,
        },
        "hovertemplate": "%{hovertext}: %{x:.2f} %<extra></extra>",
    }


def named(rows: Sequence[int], names: Sequence[str], most: int) -> dict[str, Any]:
    """A vertical axis from the top down with a name at every row."""
    return axis(
        tickmode="array",
        tickvals=list(rows),
        ticktext=[shortened(name, most) for name in names],
        range=[len(rows) - 0.4, -0.6],
        gridcolor="--grid",
    )
