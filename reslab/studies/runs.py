"""The runs that a study measures: opening them, identifying them, and loading their models."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError
from reslab.data import Data
from reslab.evaluation.tasks.registry import DEFAULT, task_name
from reslab.models import build
from reslab.models.stacked import slices
from reslab.runs.run import Run
from reslab.studies.folder import default_path
from reslab.studies.trained import LoadedRun, load_run

MAX_NAME = 180  # bytes of run names in the name of a study; file systems allow 255 in all


def open_run(run: Run | str | Path) -> Run:
    """Open a run. Raises UserError if it is none, or if it has several labels per image."""
    opened = run if isinstance(run, Run) else Run.open(run)
    if task_name(opened.info) != DEFAULT:
        raise UserError(
            f"{opened.path} has several labels per image, and studies are for one class per image"
        )
    return opened


def open_runs(runs: Sequence[Run | str | Path]) -> list[Run]:
    """Open the runs. Raises UserError if there are none, or if two have the same name."""
    opened = [open_run(run) for run in runs]
    if not opened:
        raise UserError("no runs: name one or more folders written by `reslab train`")
    names = [run.name for run in opened]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two runs are called {repeated[0]}: name each run once")
    return opened


def study_path(kind: str, runs: Sequence[Run], *options: str) -> Path:
    """Return the default folder of a study of these runs; a hash stands for too many names."""
    names = [run.name for run in runs]
    if sum(len(name.encode()) + 1 for name in names) > MAX_NAME:
        checksum = hashlib.sha256("/".join(names).encode()).hexdigest()[:8]
        names = [f"{len(runs)}-runs-{checksum}"]
    return default_path(kind, *names, *options)


def identity(run: Run, with_weights: bool = True) -> dict[str, Any]:
    """Return what identifies a run in the settings of a study.

    The checksum of the weights belongs to it where the study measures the final weights. The
    checkpoint of a past epoch does not change any more.
    """
    entry = {"run": run.name, "started": run.info.get("started")}
    entry |= {"data": run.info["data"]["checksum"]}
    return entry | ({"weights": run.digest()} if with_weights else {})


def load_flat(run: Run, images: int | None, split: str, data: Data | None = None) -> LoadedRun:
    """Load a run with one Keras layer per layer of the network, so that each can be measured.

    See `trained.load_run`; that function may stack the units of deep networks.
    """
    loaded = load_run(run, images, split=split, data=data)
    if not slices.holders(loaded.model):
        return loaded
    weights = loaded.weights()
    flat = replace(loaded, model=build.create(run.network))
    flat.assign(weights)
    return flat
