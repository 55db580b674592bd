"""Trained runs as these analyses look at them: flat, so that every layer can be asked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError
from reslab.data import Data
from reslab.models import build
from reslab.models.stacked import slices
from reslab.runs.run import Run
from reslab.studies.trained import Subject, subject

LONGEST = 180  # bytes of runs' names in a study's


def opened(runs: Sequence[Run | str | Path]) -> list[Run]:
    """The runs, each once. Raises UserError where there are none, or two have one name."""
    found = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    if not found:
        raise UserError("no runs: name one or more folders of `reslab train`")
    names = [run.name for run in found]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"two runs are called {twice[0]}: name each run once")
    return found


def name(kind: str, runs: Sequence[Run], *more: str) -> Path:
    """The study's folder by default; a file system takes names of 255 bytes."""
    names = [run.name for run in runs]
    if sum(len(name.encode()) + 1 for name in names) > LONGEST:
        digest = hashlib.sha256("/".join(names).encode()).hexdigest()[:8]
        names = [f"{len(runs)}-runs-{digest}"]
    return Path("studies") / "-".join([kind, *names, *more])


def known(run: Run, judged: bool = True) -> dict[str, Any]:
    """What identifies a run in a study; its weights too where the judged ones are looked at, for
    those of kept epochs stay what they are."""
    found = {"run": run.name, "started": run.info.get("started")}
    found |= {"data": run.info["data"]["checksum"]}
    return found | ({"weights": run.digest()} if judged else {})


def flat(run: Run, images: int | None, split: str, data: Data | None = None) -> Subject:
    """The run's judged weights in a model of single layers; see `analysis.subject`."""
    found = subject(run, images, split=split, data=data)
    if not slices.holders(found.model):
        return found
    weights = found.weights()
    found = replace(found, model=build.create(run.network))
    found.assign(weights)
    return found
