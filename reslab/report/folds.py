"""The mean over the folds of a cross-validation, and the test error of the averaged ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from reslab.evaluation.tasks.registry import task_of
from reslab.report import suspects

if TYPE_CHECKING:
    from reslab.report.context import RunLike

COVERS = (
    "The epochs were chosen on these validation images, and the folds share most of their training "
    "images: so the mean is a little too low, and ± is the spread between the folds, not an "
    "interval of the mean. The test set was read once, by the ensemble: the mean of the outputs of "
    "all runs."
)


def sentences(runs: Sequence[RunLike], evaluation: Mapping[str, Any] | None) -> list[str]:
    """`validation error 8.75 %, ± 0.16 points between 5 folds`, and that of the ensemble."""
    lines = [_validation(runs)]
    if evaluation is not None:
        lines.append(f"ensemble of all folds: {task_of(runs[0].info).sentence(evaluation)}")
    return lines


def block(
    runs: Sequence[RunLike],
    evaluation: Mapping[str, Any] | None,
    likely: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The variables of the template's block about folds.

    Args:
        runs: The run of each fold.
        evaluation: That of the ensemble on the test images.
        likely: Labels that are likely wrong, from `reslab.evaluation.cross_validation.suspects`.
    """
    network, data = runs[0].info["network"]["name"], runs[0].info["data"]["name"]
    return {
        "title": f"{network} on {data}, {len(runs)} folds",
        "sentences": [line[0].upper() + line[1:] + "." for line in sentences(runs, evaluation)],
        "suspects": None if likely is None else suspects.of_folds(likely, runs[0].info["data"]),
        "covers": COVERS if evaluation else COVERS.partition(" The test set")[0],
    }


def _validation(runs: Sequence[RunLike]) -> str:
    task = task_of(runs[0].info)
    values = [
        float(line[f"val_{task.metric}"])
        for run in runs
        for line in run.log()
        if line["kind"] == "epoch" and line["epoch"] == run.info["chosen_epoch"]
    ]
    images = sum(run.info["data"]["counts"].get("validation", 0) for run in runs)
    mean, spread = (task.describe(value, images) for value in (fmean(values), stdev(values)))
    spread = spread.replace(" %", " points")
    return f"validation {task.metric} {mean}, ± {spread} between {len(values)} folds"
