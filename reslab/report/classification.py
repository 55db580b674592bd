"""The part of a report for classification: mistakes, errors of classes, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reslab.core.records import check_record
from reslab.plots.format import interval, percent
from reslab.plots.plotly import Chart
from reslab.report import evaluation_charts
from reslab.report.thumbnails import thumbnail
from reslab.runs.evaluation_records import ClassificationEvaluation

TEMPLATE = "classification.html"
PAIRS_WITH_PICTURES = 8  # confused pairs that are shown with pictures
# Defaults of the keys that an evaluation may lack.
DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("data", "loss", "top5_error", "when", "command")),
    "split": "test",
    "mistakes": (),
    "readings": 1,
    "first_read": None,
}


def evaluation(
    file: Path, stored: Mapping[str, Any], data: Mapping[str, Any], id: str
) -> dict[str, Any]:
    """Return the variables of the template. `id` is the prefix of the ids of the charts."""
    check_record(file, stored, ClassificationEvaluation)
    evaluation = {**DEFAULTS, **stored}
    # An error on data other than the run was trained with needs the name of the data.
    elsewhere = evaluation["data"] not in (None, data["name"])
    shown = evaluation_charts.worst(evaluation["per_class"])
    return {
        **evaluation,
        "elsewhere": evaluation["data"] if elsewhere else None,
        "pairs": _pairs(evaluation),
        "others": _others(evaluation),
        "files": [thumbnail(each) for each in evaluation["mistakes"] if each.get("file")],
        "heat": any(each.get("map") for each in evaluation["mistakes"]),
        "shown": len(shown),
        "sparse": evaluation_charts.SPARSE,
        "few": len(shown) <= evaluation_charts.MAX_CLASSES_WITH_COUNTS,
        "empty": [row["class"] for row in evaluation["per_class"] if not row["n"]],
        "most_confusion": _most_confusion(evaluation, shown),
        "temperature": (temperature := _temperature(evaluation)),
        "charts": {
            "confusion": evaluation_charts.confusion(evaluation, f"{id}-confusion"),
            "classes": evaluation_charts.class_errors(evaluation, f"{id}-classes"),
            "reliability": evaluation_charts.reliability(
                evaluation["calibration"], f"{id}-reliability"
            ),
            **_after(temperature, f"{id}-reliability-after"),
        },
    }


def _temperature(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """The temperature, and whether it is better: None if that is not decided."""
    stored = evaluation.get("temperature")
    if not stored or stored["value"] is None:
        return stored
    for key in ("ece", "loss", "calibration"):
        stored[key]  # a KeyError is reported as damage
    change = stored["loss_change"]
    return {
        **stored,
        "better": None if change["low"] <= 0 <= change["high"] else change["high"] < 0,
    }


def _after(temperature: Mapping[str, Any] | None, id: str) -> dict[str, Chart]:
    if not temperature or temperature["value"] is None:
        return {}
    return {"reliability_after": evaluation_charts.reliability(temperature["calibration"], id)}


def _most_confusion(evaluation: Mapping[str, Any], shown: Sequence[int]) -> float:
    """The largest fraction of a class predicted as one other class: the end of the colour scale."""
    fractions = [
        evaluation["confusion"][i][j] / evaluation["per_class"][i]["n"]
        for i in shown
        for j in shown
        if i != j
    ]
    return max(fractions, default=0.0)


def _pairs(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The most confused pairs, most frequent first, each with its pictures."""
    pairs = []
    for rank, pair in enumerate(evaluation["confused"]):
        classes = (pair["true"], pair["predicted"])
        pictures = [
            thumbnail(mistake)
            for mistake in evaluation["mistakes"]
            if (mistake["true"], mistake["predicted"]) == classes
        ]
        shown = pictures if rank < PAIRS_WITH_PICTURES else []
        pairs.append({**pair, "fraction": pair["count"] / pair["of"], "pictures": shown})
    return pairs


def _others(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pictures of mistakes that are not among the pairs shown with pictures."""
    shown = {
        (pair["true"], pair["predicted"]) for pair in evaluation["confused"][:PAIRS_WITH_PICTURES]
    }
    return [
        thumbnail(mistake)
        for mistake in evaluation["mistakes"]
        if (mistake["true"], mistake["predicted"]) not in shown
    ]


def tiles(evaluation: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Names, figures and small print of the results beside the main one."""
    n = evaluation["n"]
    entries = []
    if top5 := evaluation["top5_error"]:
        entries.append(("top-5 error", percent(top5["value"], n), interval(top5, n)))
    balanced, accuracy = (percent(evaluation[k], n) for k in ("balanced_accuracy", "accuracy"))
    return [*entries, ("balanced accuracy", balanced, f"accuracy {accuracy}")]
