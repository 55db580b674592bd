"""The map of images by their features: a point for each image, a ring around each mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reslab.plots.plotly import LEGEND, RUN_COLOURS, Chart, axis, colour, layout, middle_cut, text

MOST_IN_LEGEND = 24  # of more classes, the colours repeat too often for a legend to help
SYMBOLS = "circle", "square", "diamond", "triangle-up", "triangle-down", "star"
NAME = 60  # letters of a file name


def scatter(
    points: Mapping[str, Any], chart: Mapping[str, Any], classes: Sequence[str], chart_id: str
) -> Chart:
    """Return a map.

    Args:
        points: The "map" of evaluation.json.
        chart: One of its "charts".
        classes: The names of the classes.
        chart_id: The id of the chart in the page.
    """
    members: dict[int, list[int]] = {}
    for i, label in enumerate(points["true"]):
        members.setdefault(label, []).append(i)
    traces = [_of_class(points, chart, classes, label, members[label]) for label in sorted(members)]
    wrong = [i for i, label in enumerate(points["true"]) if points["predicted"][i] != label]
    traces.append(
        {
            "type": "scatter",
            "mode": "markers",
            "name": "mistake",
            "x": [chart["x"][i] for i in wrong],
            "y": [chart["y"][i] for i in wrong],
            "marker": {
                "symbol": "circle-open",
                "size": 12,
                "color": "--ink",
                "line": {"width": 1.6},
            },
            "hoverinfo": "skip",
        }
    )
    pca = chart["method"] == "PCA"
    names = ("first component", "second component") if pca else ("", "")
    plain = {"showticklabels": False, "showgrid": True}
    few = len(members) <= MOST_IN_LEGEND
    figure = {
        "data": traces,
        "layout": layout(
            axis(names[0], **plain),
            axis(names[1], **plain),
            showlegend=few,
            legend={**LEGEND, "itemsizing": "constant", "font": {"size": 11}},
            hovermode="closest",
            margin={"l": 30, "r": 8, "t": 8, "b": 30},
        ),
    }
    n = len(points["true"])
    label = f"Map of {n} images by their features ({chart['method']}); {len(wrong)} are mistakes."
    return Chart(chart_id, figure, label, "height: 34rem; max-height: 130vw")


def _of_class(
    points: Mapping[str, Any],
    chart: Mapping[str, Any],
    classes: Sequence[str],
    label: int,
    members: Sequence[int],
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": text(middle_cut(classes[label], 24)),
        "x": [chart["x"][i] for i in members],
        "y": [chart["y"][i] for i in members],
        "customdata": list(members),
        "meta": [int(points["predicted"][i] != label) for i in members],
        "marker": {
            "size": 6,
            "color": colour(label),
            "symbol": SYMBOLS[label // RUN_COLOURS % len(SYMBOLS)],
            "opacity": 0.75,
        },
        "hovertext": [_hover(points, classes, i) for i in members],
        "hovertemplate": "%{hovertext}<extra></extra>",
    }


def _hover(points: Mapping[str, Any], classes: Sequence[str], i: int) -> str:
    true, predicted = (classes[points[key][i]] for key in ("true", "predicted"))
    files = points.get("files")
    name = middle_cut(files[i], NAME) if files else f"image {points['index'][i]}"
    answer = text(true) if true == predicted else f"{text(true)}, predicted as {text(predicted)}"
    return f"{answer}<br>{text(name)}"
