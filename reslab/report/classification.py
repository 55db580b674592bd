"""How a report shows the evaluation of a classification: mistakes, classes, calibration."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reslab.core.files import check_fields
from reslab.evaluation.metrics import FIELDS
from reslab.report import evaluation_charts

TEMPLATE = "classification.html"
PAIRS_WITH_PICTURES = 8
PNG = b"\x89PNG\r\n\x1a\n"
SMALL = 64  # pixels up to which a picture is enlarged without smoothing
# What an evaluation may lack.
DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("data", "loss", "top5_error", "when", "command")),
    "split": "test",
    "mistakes": (),
    "readings": 1,
    "first_read": None,
}


def evaluation(
    file: Path, stored: Mapping[str, Any], data: Mapping[str, Any], at: str
) -> dict[str, Any]:
    """The variables of the template, from what `file` stored; `at` begins the ids of charts."""
    check_fields(file, stored, FIELDS)
    evaluation = {**DEFAULTS, **stored}
    # Evaluated on data other than it was trained with, the error needs their name.
    elsewhere = evaluation["data"] not in (None, data["name"])
    shown = evaluation_charts.worst(evaluation["per_class"])
    return {
        **evaluation,
        "elsewhere": evaluation["data"] if elsewhere else None,
        "pairs": _pairs(evaluation),
        "others": _others(evaluation),
        "shown": len(shown),
        "few": len(shown) <= evaluation_charts.COUNTS_UP_TO,
        "empty": [row["class"] for row in evaluation["per_class"] if not row["n"]],
        "most_confusion": _most_confusion(evaluation, shown),
        "charts": {
            "confusion": evaluation_charts.confusion(evaluation, f"{at}-confusion"),
            "classes": evaluation_charts.class_errors(evaluation, f"{at}-classes"),
            "reliability": evaluation_charts.reliability(evaluation, f"{at}-reliability"),
        },
    }


def _most_confusion(evaluation: Mapping[str, Any], shown: Sequence[int]) -> float:
    """The largest share of a class that was taken for one other: the scale's dark end."""
    shares = [
        evaluation["confusion"][i][j] / evaluation["per_class"][i]["n"]
        for i in shown
        for j in shown
        if i != j
    ]
    return max(shares, default=0.0)


def _pairs(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The most confused pairs, most first, the pictures of each with it."""
    pairs = []
    for place, pair in enumerate(evaluation["confused"]):
        both = (pair["true"], pair["predicted"])
        pictures = [
            _picture(mistake)
            for mistake in evaluation["mistakes"]
            if (mistake["true"], mistake["predicted"]) == both
        ]
        pictured = pictures if place < PAIRS_WITH_PICTURES else []
        pairs.append({**pair, "share": pair["count"] / pair["of"], "pictures": pictured})
    return pairs


def _others(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Pictures of mistakes outside the pairs that are shown with theirs."""
    told = {
        (pair["true"], pair["predicted"]) for pair in evaluation["confused"][:PAIRS_WITH_PICTURES]
    }
    return [
        _picture(mistake)
        for mistake in evaluation["mistakes"]
        if (mistake["true"], mistake["predicted"]) not in told
    ]


def _picture(mistake: Mapping[str, Any]) -> dict[str, Any]:
    """A mistake with its picture as an address, None where there is no whole PNG."""
    try:
        png = base64.b64decode(mistake.get("png") or "", validate=True)
    except binascii.Error:
        png = b""
    width = int.from_bytes(png[16:20], "big") if png.startswith(PNG) else 0
    address = f"data:image/png;base64,{base64.b64encode(png).decode()}" if width else None
    where = mistake.get("file") or f"image {mistake['index']}"
    return {**mistake, "address": address, "small": width <= SMALL, "where": where}
