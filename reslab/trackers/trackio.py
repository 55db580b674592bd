"""Trackio: a run in the project `reslab`, in Trackio's own folder.

Trackio's environment variables hold: TRACKIO_DIR is another folder, TRACKIO_SPACE_ID a Space of
Hugging Face, and TRACKIO_SERVER_URL a server; TRACKIO_PROJECT names another project.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reslab.runs.run import Run
from reslab.trackers.base import PROJECT, Connection
from reslab.trackers.rows import (
    START,
    Position,
    Row,
    configuration,
    flat,
    identity,
    position_of,
)

REMOTE = "TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL"


class Trackio(Connection):
    """A run of Trackio, which knows it by its name."""

    def __init__(self, run: Run) -> None:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import trackio

        self.trackio = trackio
        project = os.environ.get("TRACKIO_PROJECT", PROJECT)
        self.trackio_run: Any = trackio.init(
            project,
            name=f"{run.name}-{identity(run)[:6]}",
            resume="allow",
            config=flat(configuration(run)),
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        remote = [value for name in REMOTE if (value := os.environ.get(name))]
        self.place = f"{remote[0] if remote else trackio.utils.TRACKIO_DIR}, project {project}"
        self.position = self._remote_position() if remote else self._local_position(project)

    def _local_position(self, project: str) -> Position:
        storage = self.trackio.SQLiteStorage
        if not storage.get_project_db_path(project).exists():
            return START
        logs = storage.get_logs(project, self.trackio_run.name, run_id=self.trackio_run.id)
        return max((position_of(log["step"], log) for log in logs), default=START)

    def _remote_position(self) -> Position:
        """After all rows of the last step: at worst the last row of a killed process is missing."""
        return Position(self.trackio_run._next_step, -1)

    def send(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self.trackio_run.log(dict(row.values), step=row.step)

    def close(self, status: str, report: Path | None) -> None:
        if report is not None:
            name = f"report-{self.trackio_run.name}"
            self.trackio_run.log_artifact(str(report), name=name, type="report")
        self.trackio.finish()


connect = Trackio
