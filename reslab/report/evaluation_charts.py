"""The charts of an evaluation: confusion matrix, error of each class, calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reslab.evaluation.metrics import wilson
from reslab.plots.plotly import Chart, axis, dots, layout, named, shortened, text

MAX_CLASSES = 100  # of more classes, only those with the largest errors are drawn
COLOUR_EXPONENT = 0.7  # applied to fractions below 1, so that rare mistakes are visible
SPARSE = 10  # images: a bin with fewer has an open dot
MAX_CLASSES_WITH_COUNTS = 16  # with more classes, a cell has no room for its count


def worst(per_class: Sequence[Mapping[str, Any]], most: int = MAX_CLASSES) -> list[int]:
    """Return the indices of the classes with images, in order; at most those of largest error."""
    with_images = [i for i, row in enumerate(per_class) if row["n"]]
    by_error = sorted(with_images, key=lambda i: -per_class[i]["error"])
    return sorted(by_error[:most])


def confusion(evaluation: Mapping[str, Any], chart_id: str) -> Chart:
    """Return the confusion matrix: rows are true classes, columns predicted classes.

    The diagonal and the mistakes have separate colour scales: on a common one, all mistakes of a
    good network would look white.
    """
    keep = worst(evaluation["per_class"])
    names = [evaluation["classes"][i] for i in keep]
    counts = np.array(evaluation["confusion"])[np.ix_(keep, keep)]
    of = np.array([evaluation["per_class"][i]["n"] for i in keep])
    fractions = counts / of[:, None]
    k = len(keep)
    diagonal = np.eye(k, dtype=bool)
    mistakes = np.where(diagonal, 0, fractions)
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
    if k <= MAX_CLASSES_WITH_COUNTS:
        shared |= {"texttemplate": "%{text}", "textfont": {"size": 10}}
    traces = [
        shared
        | {
            "z": _cells((mistakes / most) ** COLOUR_EXPONENT, ~diagonal),
            "zmin": 0,
            "zmax": 1,
            "colorscale": [[0, "--cell"], [0.5, "--wrong-half"], [1, "--wrong"]],
            "text": _counted(counts, ~diagonal),
        },
        shared
        | {
            "z": _cells(fractions, diagonal),
            "zmin": 0,
            "zmax": 1,
            "colorscale": [[0, "--cell"], [1, "--right"]],
            "text": _counted(counts, diagonal),
        },
    ]
    figure = {"data": traces, "layout": square(names)}
    pixels = 330 if k <= MAX_CLASSES_WITH_COUNTS else 90 + 13 * k
    widest = 40 if k <= MAX_CLASSES_WITH_COUNTS else max(46, (110 + 15 * k) / 16)
    style = f"min-width: {pixels}px; max-width: {widest:.0f}rem; aspect-ratio: 1"
    return Chart(chart_id, figure, _description(evaluation, k), style)


def square(names: Sequence[str], across: str = "predicted", down: str = "true") -> dict[str, Any]:
    """A layout with the same names on both axes and square cells."""
    k = len(names)
    few = k <= MAX_CLASSES_WITH_COUNTS
    ticks = {
        "tickmode": "array",
        "tickvals": list(range(k)),
        "ticktext": [shortened(name, 18) for name in names],
        "tickfont": {"size": 11 if few else 10},
        "showgrid": False,
        "linecolor": "--clear",
    }
    angle = 0 if max(map(len, names), default=0) <= 2 else -45 if few else -90
    x = axis(across, **ticks, tickangle=angle, range=[-0.5, k - 0.5], constrain="domain")
    y = axis(down, **ticks, range=[k - 0.5, -0.5], scaleanchor="x", constrain="domain")
    return layout(x, y, margin={"l": 30, "r": 6, "t": 6, "b": 30})


def _cells(values: np.ndarray, where: np.ndarray) -> list[list[float | None]]:
    """Numbers with four digits where the mask is true, None elsewhere."""
    return [
        [round(float(v), 4) if w else None for v, w in zip(row, at, strict=True)]
        for row, at in zip(values, where, strict=True)
    ]


def _counted(counts: np.ndarray, where: np.ndarray) -> list[list[str]]:
    return [
        [str(int(c)) if c and w else "" for c, w in zip(row, at, strict=True)]
        for row, at in zip(counts, where, strict=True)
    ]


def _description(evaluation: Mapping[str, Any], k: int) -> str:
    pairs = [
        f"{pair['true']} predicted as {pair['predicted']} {pair['count']} of {pair['of']} times"
        for pair in evaluation["confused"][:3]
    ]
    ending = "Most frequent: " + "; ".join(pairs) + "." if pairs else "There are no mistakes."
    return f"Confusion matrix of {k} classes, rows true, columns predicted. {ending}"


def class_errors(evaluation: Mapping[str, Any], chart_id: str) -> Chart:
    """Return the error of each class with its interval, worst first, and the overall error."""
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


def reliability(calibration: Mapping[str, Any], chart_id: str) -> Chart:
    """Return accuracy by confidence: a dot with an interval for each bin, its area by its images.

    No line joins the dots: between sparse bins it would show the noise as a course.
    """
    bins = [b for b in calibration["bins"] if b["n"]]
    most = max((b["n"] for b in bins), default=1)
    bounds = [wilson(round(b["accuracy"] * b["n"]), b["n"]) for b in bins]
    accuracy = [100 * b["accuracy"] for b in bins]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [100 * b["confidence"] for b in bins],
        "y": accuracy,
        "marker": {
            "size": [6 + 16 * math.sqrt(b["n"] / most) for b in bins],
            "color": ["--page" if b["n"] < SPARSE else "--run-0" for b in bins],
            "line": {"color": "--run-0", "width": 1.8},
            "opacity": 1,
        },
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [100 * high - a for (_, high), a in zip(bounds, accuracy, strict=True)],
            "arrayminus": [a - 100 * low for (low, _), a in zip(bounds, accuracy, strict=True)],
            "color": "--run-0",
            "thickness": 1.2,
            "width": 3,
        },
        "customdata": [b["n"] for b in bins],
        "hovertemplate": "confidence %{x:.1f} %, accuracy %{y:.1f} %, "
        "n = %{customdata:,}<extra></extra>",
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
        "layout": layout(axis("confidence", **percent), axis("accuracy", **percent)),
    }
    ece = 100 * calibration["ece"]
    label = f"Reliability diagram. Expected calibration error {ece:.1f} %."
    return Chart(chart_id, figure, label, "max-width: 27rem; aspect-ratio: 1")
