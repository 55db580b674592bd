"""The charts of an evaluation: confusion matrix, error of each class, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reslab.evaluation.metrics import wilson
from reslab.plots.plotly import Chart, axis, dots, layout, named, shortened, text

MOST_CLASSES = 100  # beyond it only the classes that are wrong most often are drawn
CURVE = 0.7  # a share's place on the colour scale is this power: rare mistakes still show
COUNTS_UP_TO = 16  # classes up to which a cell has room for its count


def worst(per_class: Sequence[Mapping[str, Any]], most: int = MOST_CLASSES) -> list[int]:
    """Indices of the classes with images, in their own order: all, or those wrong most often."""
    filled = [i for i, row in enumerate(per_class) if row["n"]]
    by_error = sorted(filled, key=lambda i: -per_class[i]["error"])
    return sorted(by_error[:most])


def confusion(evaluation: Mapping[str, Any], chart_id: str) -> Chart:
    """Rows true, columns predicted; what is right in one colour, mistakes in another.

    The diagonal outweighs the rest in any net worth a report. On one colour scale the mistakes,
    which one looks for, would all be white.
    """
    keep = worst(evaluation["per_class"])
    names = [evaluation["classes"][i] for i in keep]
    counts = np.array(evaluation["confusion"])[np.ix_(keep, keep)]
    of = np.array([evaluation["per_class"][i]["n"] for i in keep])
    shares = counts / of[:, None]
    k = len(keep)
    diagonal = np.eye(k, dtype=bool)
    mistakes = np.where(diagonal, 0, shares)
    most = float(mistakes.max()) or 1.0
    shared: dict[str, Any] = {
        "type": "heatmap",
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "hoverongaps": False,
        "customdata": [[[int(c), int(n)] for c in row] for row, n in zip(counts, of, strict=True)],
        "hovertemplate": "true %{y}, predicted %{x}: %{customdata[0]} of %{customdata[1]}"
        "<extra></extra>",
    }
    if k <= COUNTS_UP_TO:
        shared |= {"texttemplate": "%{text}", "textfont": {"size": 10}}
    traces = [
        shared
        | {
            "z": _cells((mistakes / most) ** CURVE, ~diagonal),
            "zmin": 0,
            "zmax": 1,
            "colorscale": [[0, "--cell"], [0.5, "--wrong-half"], [1, "--wrong"]],
            "text": _counted(counts, ~diagonal),
        },
        shared
        | {
            "z": _cells(shares, diagonal),
            "zmin": 0,
            "zmax": 1,
            "colorscale": [[0, "--cell"], [1, "--right"]],
            "text": _counted(counts, diagonal),
        },
    ]
    figure = {"data": traces, "layout": _square(names)}
    pixels = 330 if k <= COUNTS_UP_TO else 90 + 13 * k
    widest = 40 if k <= COUNTS_UP_TO else max(46, (110 + 15 * k) / 16)
    style = f"min-width: {pixels}px; max-width: {widest:.0f}rem; aspect-ratio: 1"
    return Chart(chart_id, figure, _spoken(evaluation, k), style)


def _square(names: Sequence[str]) -> dict[str, Any]:
    """A layout with the same names down and across, whose cells stay square."""
    k = len(names)
    few = k <= COUNTS_UP_TO
    ticks = {
        "tickmode": "array",
        "tickvals": list(range(k)),
        "ticktext": [shortened(name, 18) for name in names],
        "tickfont": {"size": 11 if few else 10},
        "showgrid": False,
        "linecolor": "--clear",
    }
    angle = 0 if max(map(len, names)) <= 2 else -45 if few else -90
    x = axis("predicted", **ticks, tickangle=angle, range=[-0.5, k - 0.5], constrain="domain")
    y = axis("true", **ticks, range=[k - 0.5, -0.5], scaleanchor="x", constrain="domain")
    return layout(x, y, margin={"l": 30, "r": 6, "t": 6, "b": 30})


def _cells(values: np.ndarray, where: np.ndarray) -> list[list[float | None]]:
    """Numbers with four digits where they are asked for, gaps elsewhere."""
    return [
        [round(float(v), 4) if w else None for v, w in zip(row, at, strict=True)]
        for row, at in zip(values, where, strict=True)
    ]


def _counted(counts: np.ndarray, where: np.ndarray) -> list[list[str]]:
    return [
        [str(int(c)) if c and w else "" for c, w in zip(row, at, strict=True)]
        for row, at in zip(counts, where, strict=True)
    ]


def _spoken(evaluation: Mapping[str, Any], k: int) -> str:
    said = [
        f"{pair['true']} taken for {pair['predicted']} {pair['count']} of {pair['of']} times"
        for pair in evaluation["confused"][:3]
    ]
    ending = "Most often: " + "; ".join(said) + "." if said else "There are no mistakes."
    return f"Confusion matrix of {k} classes, rows true, columns predicted. {ending}"


def class_errors(evaluation: Mapping[str, Any], chart_id: str) -> Chart:
    """One dot a class with its interval, the worst on top, and the error over all as a line."""
    per_class = evaluation["per_class"]
    order = sorted(worst(per_class), key=lambda i: (-per_class[i]["error"], i))
    rows = [per_class[i] for i in order]
    at = list(range(len(rows)))
    trace = dots(rows, at) | {
        "marker": {"size": 7, "color": "--run-0"},
        "hovertext": [text(row["class"]) for row in rows],
        "customdata": [[100 * r["low"], 100 * r["high"], r["n"]] for r in rows],
        "hovertemplate": "%{hovertext}: %{x:.1f} %, interval %{customdata[0]:.1f} to "
        "%{customdata[1]:.1f} %, n = %{customdata[2]:,}<extra></extra>",
    }
    overall = 100 * evaluation["top1_error"]["value"]
    line = {"color": "--muted", "width": 1, "dash": "dot"}
    figure = {
        "data": [trace],
        "layout": layout(
            axis(ticksuffix=" %", rangemode="tozero", side="top"),
            named(at, [row["class"] for row in rows], most=26) | {"tickfont": {"size": 11}},
            shapes=[
                {"type": "line", "x0": overall, "x1": overall, "yref": "paper", "y0": 0, "y1": 1}
                | {"line": line}
            ],
            margin={"l": 30, "r": 14, "t": 30, "b": 8},
        ),
    }
    label = "Error of each class with its 95 % interval"
    if rows:
        label += f", from {rows[0]['class']} {100 * rows[0]['error']:.1f} %"
        label += f" to {rows[-1]['class']} {100 * rows[-1]['error']:.1f} %"
    return Chart(
        chart_id,
        figure,
        label + ".",
        f"height: {3 + (1.6 if len(rows) <= 20 else 1.05) * len(rows):.1f}rem",
    )


def reliability(evaluation: Mapping[str, Any], chart_id: str) -> Chart:
    """Accuracy by confidence, a dot a bin, its area by how many images are in it."""
    bins = [b for b in evaluation["calibration"]["bins"] if b["n"]]
    most = max((b["n"] for b in bins), default=1)
    bounds = [wilson(round(b["accuracy"] * b["n"]), b["n"]) for b in bins]
    accuracy = [100 * b["accuracy"] for b in bins]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [100 * b["confidence"] for b in bins],
        "y": accuracy,
        "line": {"color": "--run-0", "width": 1.5},
        "marker": {
            "size": [6 + 16 * math.sqrt(b["n"] / most) for b in bins],
            "color": "--run-0",
            "opacity": 0.85,
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * high - a for (_, high), a in zip(bounds, accuracy, strict=True)],
            "arrayminus": [a - 100 * low for (low, _), a in zip(bounds, accuracy, strict=True)],
            "color": "--faint",
            "thickness": 1.6,
            "width": 0,
        },
        "customdata": [b["n"] for b in bins],
        "hovertemplate": "%{x:.1f} % sure, %{y:.1f} % right, n = %{customdata:,}<extra></extra>",
    }
    ideal = {
        "type": "scatter",
        "mode": "lines",
        "x": [0, 100],
        "y": [0, 100],
        "line": {"color": "--muted", "width": 1, "dash": "dot"},
        "hoverinfo": "skip",
    }
    percent = {"ticksuffix": " %", "range": [-2, 104], "dtick": 25}
    figure = {
        "data": [ideal, trace],
        "layout": layout(
            axis("how sure the net is", **percent), axis("how often right", **percent)
        ),
    }
    ece = 100 * evaluation["calibration"]["ece"]
    label = f"Reliability diagram. Expected calibration error {ece:.1f} %."
    return Chart(chart_id, figure, label, "max-width: 27rem; aspect-ratio: 1")
