"""The results of a cross-validation: of the averaged ensemble, and about the labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from reslab.data import Data
from reslab.data.dataset import CLASSIFICATION
from reslab.data.folds import assign
from reslab.evaluation import likely_labels, unseen
from reslab.evaluation.ensemble import averaged
from reslab.evaluation.scoring import outputs
from reslab.evaluation.tasks.registry import task_of
from reslab.models import saved
from reslab.runs.run import Run


def evaluate_ensemble(runs: Sequence[Run], data: Data, keep_seen: bool) -> dict[str, Any] | None:
    """The evaluation of the mean of the outputs of all runs on the test set; None without one."""
    if data.test is None:
        return None
    task = task_of(runs[0].info)
    split, seen = unseen.leave_out_seen(runs[0], data.test, data, True, keep_seen)
    loaded = [saved.load_with_card(run.model_path) for run in runs]
    model, card = averaged([m for m, _ in loaded]), task.card_of_mean([c for _, c in loaded])
    result = task.evaluate(outputs(model, split), split, data, card)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        **result,
        "seen": seen,
        "split": "test",
        "data": data.name,
        "checksum": data.checksum,
        "when": now,
        "readings": 1,
        "first_read": now,
    }


def suspects(runs: Sequence[Run], data: Data) -> dict[str, Any] | None:
    """Labels that are likely wrong, of all images: each was held out from one of the trainings.

    Args:
        runs: The finished run of each fold, in order.
        data: All data.

    Returns:
        As `reslab.evaluation.likely_labels.find`, for the parts "train" and "validation" of the
        data; None if the library is missing, or the task has several labels for an image.
    """
    if not likely_labels.installed() or task_of(runs[0].info).name != CLASSIFICATION:
        return None
    train, validation = data.train, data.validation
    together = train if validation is None else train.join(validation)
    places = assign(together, data.classes, len(runs), int(data.provenance.get("seed", 0)))
    probabilities = np.zeros((len(together), len(data.classes)), np.float32)
    for number, run in enumerate(runs):
        held_out = np.flatnonzero(places == number)
        model, _ = saved.load_with_card(run.model_path)
        probabilities[held_out] = outputs(model, together.take(held_out))
    n = len(train)
    parts = [("train", train, np.arange(n), probabilities[:n])]
    if validation is not None:
        rest = np.arange(len(validation))
        parts.append(("validation", validation, rest, probabilities[n:]))
    return likely_labels.find(parts, data.classes)
