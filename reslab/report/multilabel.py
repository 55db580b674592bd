"""The part of a report for several labels per image: each label, its curve, and its mistakes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reslab.core.records import check_record
from reslab.evaluation.multilabel_metrics import DEFAULT_THRESHOLD
from reslab.plots.format import NONE, interval, percent
from reslab.report import multilabel_charts
from reslab.report.thumbnails import thumbnail
from reslab.runs.evaluation_records import MultilabelEvaluation

TEMPLATE = "multilabel.html"
# Defaults of the keys that an evaluation may lack.
DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("data", "when", "command")),
    "split": "test",
    "mistakes": (),
    "absent": (),
    "readings": 1,
    "first_read": None,
}


def evaluation(
    file: Path, stored: Mapping[str, Any], data: Mapping[str, Any], id: str
) -> dict[str, Any]:
    """Return the variables of the template. `id` is the prefix of the ids of the charts."""
    check_record(file, stored, MultilabelEvaluation)
    evaluation = {**DEFAULTS, **stored}
    elsewhere = evaluation["data"] not in (None, data["name"])
    rows = [row for row in evaluation["per_label"] if row["n"]]
    return {
        **evaluation,
        "elsewhere": evaluation["data"] if elsewhere else None,
        "rows": sorted(rows, key=lambda row: row["average_precision"]["value"]),
        "default_threshold": DEFAULT_THRESHOLD,
        "labels": _labels(evaluation),
        "heat": any(each.get("map") for each in evaluation["mistakes"]),
        "charts": {
            "labels": multilabel_charts.labels(evaluation, f"{id}-labels"),
            "curves": multilabel_charts.curves(evaluation, f"{id}-curves"),
            "together": multilabel_charts.together(evaluation, f"{id}-together"),
        },
    }


def tiles(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Names, figures and small print of the results beside the main one."""
    n = evaluation["n"]
    entries = []
    for key, name in (
        ("micro_f1", "F1 over all labels"),
        ("macro_f1", "mean F1 of labels"),
        ("exact_match", "all labels right"),
    ):
        result = evaluation[key]
        small = NONE if result["value"] is None else interval(result, n)
        entries.append((name, percent(result["value"], n), small))
    return entries


def _labels(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The labels with mistakes, and the images that are most wrong about each."""
    by_label: dict[str, list[dict[str, Any]]] = {}
    for mistake in evaluation["mistakes"]:
        by_label.setdefault(mistake["class"], []).append(thumbnail(mistake))
    return [
        {
            "name": row["class"],
            "pictures": by_label[row["class"]],
            "missed": round(row["n"] * (1 - (row["recall"]["value"] or 0))) if row["n"] else 0,
            "wrong": round(row["predicted"] * (1 - (row["precision"]["value"] or 0))),
        }
        for row in evaluation["per_label"]
        if row["class"] in by_label
    ]
