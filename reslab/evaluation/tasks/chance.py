"""What a classifier reaches without looking at the images (standard library only)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MEASURE = "error"
HIGHER_IS_BETTER = False
IS_RATE = True  # of images, so that more images narrow its interval as those of a rate
LOGGED = "error"  # in the lines of epochs, with "val_" before it


def baselines(info: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Names and errors: of guessing, and of always naming the largest class of the training part.

    Args:
        info: The content of run.json.
        evaluation: The content of evaluation.json.
    """
    rows = evaluation["per_class"]
    images = sum(row["n"] for row in rows)
    counts = info.get("data", {}).get("facts", {}).get("counts", {}).get("train", {})
    largest = max(rows, key=lambda row: counts.get(row["class"], row["n"]))
    return [
        ("guessing", 1 - 1 / len(rows)),
        (f"always naming {largest['class']!r}", 1 - largest["n"] / images),
    ]


def loss_of_guessing(info: Mapping[str, Any]) -> float:
    """The cross-entropy of equal probabilities for all classes, in nats."""
    return math.log(max(2, len(info["data"]["classes"])))


def main(evaluation: Mapping[str, Any]) -> Mapping[str, float]:
    """The main result of an evaluation: "value", "low" and "high"."""
    rate: Mapping[str, float] = evaluation["top1_error"]
    return rate
