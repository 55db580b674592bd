"""Test images that the weights were trained on: found by content, counted, and left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import DAMAGE, UserError
from reslab.core.files import RUN_FILE
from reslab.data import Data, Split
from reslab.evaluation.recorded_data import reload
from reslab.runs import lineage
from reslab.runs.lineage import Lineage
from reslab.runs.run import Run


def lineage_of(run: Run) -> Lineage:
    """The training images of a run and of its ancestors.

    Runs of earlier versions have no file with them: their data are read again, if they are
    unchanged.
    """
    stored = lineage.read(run.path)
    if stored is not None:
        return stored
    weights = run.info.get("weights")
    parent = lineage_of_weights(weights["source"]) if weights else None
    try:
        own = Lineage(reload(run).train.digests)
    except (UserError, *DAMAGE):
        own = Lineage(np.zeros(0, np.uint64), unknown=(run.name,))
    if parent is None:
        return own
    return replace(own, ancestors=parent.all, unknown=(*parent.unknown, *own.unknown))


def lineage_of_weights(weights: str | Path) -> Lineage | None:
    """The lineage of the run that wrote these weights; None if no run is known."""
    path = Path(weights)
    folder = path if path.is_dir() else path.parent
    if folder.name == "checkpoints":
        folder = folder.parent
    if not (folder / RUN_FILE).exists():
        return None
    return lineage_of(Run.open(folder))


def is_seen(split: Split, digests: np.ndarray) -> np.ndarray:
    """Whether each image of the split is among these: bool (n,)."""
    return np.isin(split.digests, digests)


def leave_out_seen(
    run: Run, split: Split, data: Data, own_data: bool, keep: bool
) -> tuple[Split, dict[str, Any]]:
    """The images that are evaluated, and what evaluation.json says about the others as "seen".

    On the run's own parts, an image is seen if an ancestor was trained on it and the run was not:
    the parts of a data set are what its authors made them, and its duplicates are reported with the
    data.

    Raises:
        UserError: All images were seen.
    """
    history = lineage_of(run)
    own_data |= data.test is not None and data.checksum == run.info["data"]["checksum"]
    digests = np.setdiff1d(history.ancestors, history.trained) if own_data else history.all
    mask = is_seen(split, digests)
    count = int(mask.sum())
    seen = {
        "count": count,
        "of": len(mask),
        "by_this_run": 0 if own_data else int(is_seen(split, history.trained).sum()),
        "left_out": not keep,
        "unknown": list(history.unknown),
    }
    if count == 0 or keep:
        return split, seen
    if count == len(mask):
        raise UserError(
            f"all {count:,} images of {data.name} were training images of {run.path} or of an "
            "ancestor: give other images, or evaluate on them with --keep-seen"
        )
    return split.take(np.flatnonzero(~mask)), seen


def sentence(evaluation: Mapping[str, Any]) -> str:
    """Say how many images the weights were trained on; empty if there are none."""
    seen = evaluation.get("seen") or {}
    if not seen.get("count"):
        return ""
    who = "the run itself" if seen["by_this_run"] == seen["count"] else "an ancestor of the weights"
    if 0 < seen["by_this_run"] < seen["count"]:
        who = "the run or an ancestor of its weights"
    treatment = "left out" if seen["left_out"] else "kept, as --keep-seen asks"
    return f"{seen['count']:,} of {seen['of']:,} images {treatment}: {who} was trained on them"
