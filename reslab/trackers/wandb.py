"""Weights & Biases: a run in the project `reslab`, online or offline.

W&B's own environment variables hold, among them WANDB_MODE, WANDB_DIR, WANDB_PROJECT and
WANDB_ENTITY. Without WANDB_MODE and without a key the run is offline: its files are in the folder
`wandb` of the run, and `wandb sync` uploads them.

A row is one `log`, with the value "step" as the axis of all charts. When a run is continued online,
the server says which row it has last. Offline files are written again from the run's log, in which
everything is: W&B writes them when it ends, so those of a process that was killed are empty.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reslab.runs.run import Run
from reslab.trackers.base import PROJECT, Connection
from reslab.trackers.rows import KINDS, START, Position, Row, configuration, identity

STEP, KIND = "step", "kind"


class WeightsAndBiases(Connection):
    """A run of W&B, which has the identity of ours."""

    def __init__(self, run: Run) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self.wandb, number = wandb, identity(run)
        folder = Path(os.environ.get("WANDB_DIR", run.path))
        mode = _mode(wandb.setup().settings)
        if mode == "offline":
            for path in (folder / "wandb").glob(f"offline-run-*-{number}"):
                shutil.rmtree(path)
        self.wandb_run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=os.environ.get("WANDB_NAME", run.name),
            id=number,
            resume="allow",
            mode=mode,
            dir=folder,
            config=configuration(run),
            settings=wandb.Settings(console="off", silent=True, save_code=False),
        )
        self.wandb_run.define_metric("*", step_metric=STEP)
        self.place = self.wandb_run.url or str(Path(self.wandb_run.dir).parent)
        self.position = _position(self.wandb_run)

    def send(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.wandb_run.log({**row.values, STEP: row.step, KIND: row.kind})

    def close(self, status: str, report: Path | None) -> None:
        if report is not None:
            artifact = self.wandb.Artifact(f"report-{self.wandb_run.id}", type="report")
            artifact.add_file(str(report))
            self.wandb_run.log_artifact(artifact)
        self.wandb_run.finish(exit_code=int(status != "done"))


connect = WeightsAndBiases


def _mode(settings: Any) -> str:
    """WANDB_MODE or what `wandb offline` chose; offline too where no key is known."""
    named = os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE")
    if settings.mode != "online" or named or os.environ.get("WANDB_MODE"):
        return str(settings.mode)
    from requests.utils import get_netrc_auth

    return "online" if get_netrc_auth(settings.base_url) else "offline"


def _position(wandb_run: Any) -> Position:
    """That of the last row on the server, by the summary, which has the last value of each name."""
    if not wandb_run.resumed:
        return START
    step, kind = wandb_run.summary.get(STEP), wandb_run.summary.get(KIND)
    return START if step is None else Position(int(step), KINDS.index(kind))
