"""What a model of several labels reaches without looking at the images (no Keras)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

MEASURE = "mean average precision"
HIGHER_IS_BETTER = True
IS_RATE = False  # of images
LOGGED = "mean_average_precision"  # in the lines of epochs, with "val_" before it


def baselines(info: Mapping[str, Any], evaluation: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The average precision of guessing is the fraction of the images that have the label."""
    rows = [row for row in evaluation["per_label"] if row["n"]]
    if not rows:
        return []
    return [("guessing", sum(row["n"] for row in rows) / len(rows) / evaluation["n"])]


def loss_of_guessing(info: Mapping[str, Any]) -> float:
    """The binary cross-entropy of the probability 1/2 for each label, in nats."""
    return math.log(2)


def main(evaluation: Mapping[str, Any]) -> Mapping[str, float]:
    """The main result of an evaluation: "value", "low" and "high"."""
    result: Mapping[str, float] = evaluation["mean_average_precision"]
    return result
