"""What a report shows of the images of an evaluation; pages of several runs leave it out."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from reslab.plots.plotly import Chart
from reslab.report import map_charts
from reslab.report.suspects import NAMES
from reslab.report.thumbnails import thumbnail

FIRST = 12  # classes that are shown; those after them are folded
JPEG = b"\xff\xd8\xff"


def details(evaluation: Mapping[str, Any], id: str) -> dict[str, Any]:
    """The variables of the templates. `id` is the prefix of the ids of the charts."""
    return {
        "examples": _examples(evaluation),
        "map": _map(evaluation, id),
        "near": near_duplicates(evaluation.get("near_duplicates")),
    }


NOTHING: Mapping[str, Any] = {"examples": None, "map": None, "near": None}


def _examples(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The classes with their pictures; of many classes those with the largest errors first."""
    stored = evaluation.get("examples")
    if not stored or not stored["classes"]:
        return None
    errors = {row["class"]: row["error"] or 0.0 for row in evaluation["per_class"]}
    rows = stored["classes"]
    if len(rows) > FIRST:
        rows = sorted(rows, key=lambda row: -errors.get(row["class"], 0.0))
    classes = [
        {
            "name": row["class"],
            "kinds": [(kind, [thumbnail(each) for each in row[kind]]) for kind in KINDS],
        }
        for row in rows
    ]
    return {
        **stored,
        "first": classes[:FIRST],
        "others": classes[FIRST:],
        "left_out": sum(1 for row in evaluation["per_class"] if row["n"]) - len(rows),
        "named": any(each.get("file") for row in rows for kind in KINDS for each in row[kind]),
    }


KINDS = "typical", "doubtful"


def _map(evaluation: Mapping[str, Any], id: str) -> dict[str, Any] | None:
    stored = evaluation.get("map")
    if not stored or not stored["index"] or not stored["charts"]:
        return None
    charts: list[Chart] = []
    for number, chart in enumerate(stored["charts"]):
        charts.append(map_charts.scatter(stored, chart, evaluation["classes"], f"{id}-map{number}"))
    wrong = sum(a != b for a, b in zip(stored["true"], stored["predicted"], strict=True))
    methods = [chart["method"] for chart in stored["charts"]]
    return {
        "images": stored["images"],
        "of": stored["of"],
        "wrong": wrong,
        "charts": [
            (chart, _caption(each)) for chart, each in zip(charts, stored["charts"], strict=True)
        ],
        "umap": "UMAP" in methods,
        "sprite": _sprite(stored),
        "legend": len(evaluation["classes"]) <= map_charts.MOST_IN_LEGEND,
    }


def _caption(chart: Mapping[str, Any]) -> str:
    if explained := chart.get("explained"):
        percents = " and ".join(f"{100 * fraction:.0f}" for fraction in explained)
        return f"The first two principal components, with {percents} % of the variance"
    return f"By {chart['method']}: near images stay near; long distances mean little"


def _sprite(stored: Mapping[str, Any]) -> dict[str, Any] | None:
    """The small pictures as a data URL; None if they are not a JPEG."""
    sprite = stored.get("sprite")
    if not sprite:
        return None
    try:
        jpeg = base64.b64decode(sprite["jpeg"], validate=True)
    except binascii.Error:
        return None
    if not jpeg.startswith(JPEG):
        return None
    return {
        "address": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}",
        "columns": sprite["columns"],
        "rows": -(-len(stored["index"]) // sprite["columns"]),
    }


def near_duplicates(stored: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The pairs with their pictures; None if they were not looked for, or there are none."""
    if not stored or not stored["count"]:
        return None
    pairs = [
        {
            "bits": pair["bits"],
            "differ": pair["test"]["true"] != pair["other"]["true"],
            "pictures": [_of_pair(pair[key]) for key in ("test", "other")],
        }
        for pair in stored["pairs"]
    ]
    return {**stored, "pairs": pairs, "more": stored["count"] - len(pairs)}


def _of_pair(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**thumbnail(row), "part": NAMES.get(row["split"], row["split"])}
