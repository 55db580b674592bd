"""Test images that the weights were trained on: found by content, counted, and left out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from reslab import data as datasets
from reslab.core.errors import DAMAGE, UserError
from reslab.core.files import RUN_FILE
from reslab.data import Data, Split
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
        data = datasets.again(run.info["data"]["provenance"])
        known = data.checksum == run.info["data"]["checksum"]
    except (UserError, *DAMAGE):
        known = False
    trained = data.train.digests if known else np.zeros(0, np.uint64)
    found = Lineage(trained) if parent is None else parent.child(trained)
    return found if known else Lineage(trained, found.ancestors, (*found.unknown, run.name))


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
    """The images that are evaluated, and the entry of evaluation.json about the others.

    On the run's own data the images count that an ancestor was trained on and the run was not: the
    parts of a data set are what its authors made them, and its duplicates are reported elsewhere.

    Raises:
        UserError: All images were seen.
    """
    history = lineage_of(run)
    own_data |= data.test is not None and data.checksum == run.info["data"]["checksum"]
    if own_data:
        history = Lineage(np.zeros(0, np.uint64), np.setdiff1d(history.ancestors, history.trained))
    mask = is_seen(split, history.all)
    count = int(mask.sum())
    entry = {
        "seen": {
            "count": count,
            "of": len(mask),
            "by_this_run": int(is_seen(split, history.trained).sum()),
            "left_out": not keep,
            "unknown": list(lineage_of(run).unknown),
        }
    }
    if count == 0 or keep:
        return split, entry
    if count == len(mask):
        raise UserError(
            f"all {count:,} images of {data.name} were training images of {run.path} or of an "
            "ancestor: give other images, or evaluate them nevertheless with --keep-seen"
        )
    return split.take(np.flatnonzero(~mask)), entry


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
