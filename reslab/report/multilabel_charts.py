"""The charts of several labels per image: average precisions, curves, labels that come together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from reslab.plots.plotly import Chart, axis, colour, dash, dots, layout, named, shortened, text
from reslab.report.evaluation_charts import MAX_CLASSES_WITH_COUNTS, square

MOST_LABELS = 100  # of more labels, only those with the lowest average precision are drawn
MOST_CURVES = 8  # the labels with the lowest average precision


def worst(per_label: Sequence[Mapping[str, Any]], most: int) -> list[int]:
    """The positions of the labels that occur, by average precision, the lowest first."""
    occurring = [i for i, row in enumerate(per_label) if row["n"]]
    by_precision = sorted(occurring, key=lambda i: per_label[i]["average_precision"]["value"])
    return by_precision[:most]


def labels(evaluation: Mapping[str, Any], chart_id: str) -> Chart:
    """Return the average precision of each label with its interval, lowest first."""
    rows = [evaluation["per_label"][i] for i in worst(evaluation["per_label"], MOST_LABELS)]
    results = [row["average_precision"] for row in rows]
    at = list(range(len(rows)))
    trace = dots(results, at) | {
        "marker": {"size": 7, "color": "--run-0"},
        "hovertext": [text(row["class"]) for row in rows],
        "customdata": [[100 * r["low"], 100 * r["high"], row["n"]]
                       for r, row in zip(results, rows, strict=True)],
        "hovertemplate": "%{hovertext}: %{x:.1f} %, interval %{customdata[0]:.1f} to "
        "%{customdata[1]:.1f} %, n = %{customdata[2]:,}<extra></extra>",
    }  # fmt: skip
    mean = evaluation["mean_average_precision"]["value"]
    line = {"color": "--muted", "width": 1, "dash": "dot"}
    shapes = []
    if mean is not None:
        ends = {"x0": 100 * mean, "x1": 100 * mean, "yref": "paper", "y0": 0, "y1": 1}
        shapes = [{"type": "line", **ends, "line": line}]
    figure = {
        "data": [trace],
        "layout": layout(
            axis(ticksuffix=" %", side="top"),
            named(at, [row["class"] for row in rows], most=26) | {"tickfont": {"size": 11}},
            shapes=shapes,
            margin={"l": 30, "r": 14, "t": 30, "b": 8},
        ),
    }
    label = "Average precision of each label with its 95 % interval"
    if rows:
        label += f", from {rows[0]['class']} {100 * results[0]['value']:.1f} %"
        label += f" to {rows[-1]['class']} {100 * results[-1]['value']:.1f} %"
    height = 3 + (1.6 if len(rows) <= 20 else 1.05) * len(rows)
    return Chart(chart_id, figure, f"{label}.", f"height: {height:.1f}rem")


def curves(evaluation: Mapping[str, Any], chart_id: str) -> Chart:
    """Return the precision-recall curves; of many labels those with the lowest precision."""
    keep = worst(evaluation["per_label"], MOST_CURVES)
    traces: list[dict[str, Any]] = []
    for number, i in enumerate(keep):
        row, points = evaluation["per_label"][i], evaluation["curves"][i]
        name = text(shortened(row["class"], 24))
        shared = {"type": "scatter", "name": name, "legendgroup": str(i)}
        traces.append(
            shared
            | {
                "mode": "lines",
                "x": [100 * recall for recall, _ in points],
                "y": [100 * precision for _, precision in points],
                "line": {"color": colour(number), "dash": dash(number), "width": 1.8},
                "hovertemplate": "recall %{x:.1f} %, precision %{y:.1f} %",
            }
        )
        precision, recall = row["precision"]["value"], row["recall"]["value"]
        if precision is not None and recall is not None:
            ring = {"color": colour(number), "width": 2}
            traces.append(
                shared
                | {
                    "mode": "markers",
                    "x": [100 * recall],
                    "y": [100 * precision],
                    "marker": {"size": 9, "color": "--page", "line": ring},
                    "showlegend": False,
                    "cliponaxis": False,
                    "hovertemplate": "at the threshold: recall %{x:.1f} %, precision %{y:.1f} %",
                }
            )
    percent = {"ticksuffix": " %", "range": [-1, 103], "dtick": 25}
    shown = layout(axis("recall", **percent), axis("precision", **percent))
    legend = {"showlegend": True, "legend": {"orientation": "h", "y": -0.18, "x": 0}}
    names = "; ".join(
        f"{row['class']} {100 * row['average_precision']['value']:.1f} %"
        for row in (evaluation["per_label"][i] for i in keep)
    )
    figure = {"data": traces, "layout": shown | legend}
    label = f"Precision by recall, with average precisions: {names}."
    return Chart(chart_id, figure, label, "max-width: 34rem; height: 30rem")


def together(evaluation: Mapping[str, Any], chart_id: str) -> Chart:
    """Return how often labels come together: of the images with one label, those with another."""
    most = MOST_LABELS // 2
    keep = sorted(
        sorted(
            (i for i, row in enumerate(evaluation["per_label"]) if row["n"]),
            key=lambda i: -evaluation["per_label"][i]["n"],
        )[:most]
    )
    names = [evaluation["classes"][i] for i in keep]
    counts = np.array(evaluation["cooccurrence"])[np.ix_(keep, keep)].reshape(len(keep), len(keep))
    of = np.maximum(counts.diagonal(), 1)
    fractions = counts / of[:, None]
    few = len(keep) <= MAX_CLASSES_WITH_COUNTS
    trace: dict[str, Any] = {
        "type": "heatmap",
        "xgap": 1,
        "ygap": 1,
        "showscale": False,
        "hoverongaps": False,
        "z": [
            [None if i == j else round(float(v), 4) for j, v in enumerate(row)]
            for i, row in enumerate(fractions)
        ],
        "zmin": 0,
        "zmax": 1,
        "colorscale": [[0, "--cell"], [1, "--right"]],
        "customdata": [[[int(c), int(n)] for c in row] for row, n in zip(counts, of, strict=True)],
        "hovertemplate": "%{x} in %{customdata[0]} of %{customdata[1]} images with %{y}"
        "<extra></extra>",
    }
    if few:
        cells = [
            [str(int(c)) if i != j else f"({int(c)})" for j, c in enumerate(row)]
            for i, row in enumerate(counts)
        ]
        trace |= {"text": cells, "texttemplate": "%{text}", "textfont": {"size": 10}}
    figure = {"data": [trace], "layout": square(names, "also has", "images with")}
    pixels = 330 if few else 90 + 13 * len(keep)
    style = f"min-width: {pixels}px; max-width: {40 if few else 56}rem; aspect-ratio: 1"
    return Chart(chart_id, figure, f"How often {len(keep)} labels come together.", style)
