"""MLflow: a run in the experiment `reslab`.

MLFLOW_TRACKING_URI names the server or file; by default it is mlflow.db beside the run's folder,
with the artifacts in mlartifacts. MLFLOW_EXPERIMENT_NAME names another experiment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    kind_of,
)

TAG = "reslab.id"
MOST_METRICS = 1000  # of one call, by MLflow's API
MOST_PARAMS = 100
MOST_VALUE = 500  # characters of a parameter; older servers have this limit
STATUS = {"done": "FINISHED", "failed": "FAILED", "running": "KILLED"}


class MLflow(Connection):
    """A run of MLflow, found by the tag with the identity of ours."""

    def __init__(self, run: Run) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow import MlflowClient

        address = os.environ.get("MLFLOW_TRACKING_URI")
        folder = run.path.resolve().parent
        self.place = address or f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
        with _one_at_a_time(folder if address is None else None):
            self.client: Any = MlflowClient(self.place)
            experiment = self._experiment(None if address else (folder / "mlartifacts").as_uri())
        self.id = self._find(run, experiment) or self._create(run, experiment)
        self.client.update_run(self.id, status="RUNNING")
        self.position = self._position()

    def _experiment(self, artifacts: str | None) -> str:
        if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
            return number
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        return str(self.client.create_experiment(name, artifact_location=artifacts))

    def _find(self, run: Run, experiment: str) -> str | None:
        """The run of MLflow that an earlier process began, if its configuration is whole."""
        found = self.client.search_runs([experiment], f"tags.`{TAG}` = '{identity(run)}'")
        return str(found[0].info.run_id) if found else None

    def _create(self, run: Run, experiment: str) -> str:
        tags = {TAG: identity(run), "mlflow.source.name": "reslab"}
        created = self.client.create_run(experiment, run_name=run.name, tags=tags)
        return str(created.info.run_id)

    def configure(self, run: Run) -> None:
        """Send the parameters. Those that are there already are equal, which MLflow allows."""
        from mlflow.entities import Param

        known = self.client.get_run(self.id).data.params
        params = [
            Param(name, str(value)[:MOST_VALUE])
            for name, value in flat(configuration(run)).items()
            if name not in known  # resumed with another batch: the first value stays
        ]
        for first in range(0, len(params), MOST_PARAMS):
            self.client.log_batch(self.id, params=params[first : first + MOST_PARAMS])

    def _position(self) -> Position:
        """By the history of one metric of each kind."""
        names = list(self.client.get_run(self.id).data.metrics)
        one_each = {kind: name for name in names if (kind := kind_of(name)) is not None}
        position = START
        for kind, name in one_each.items():
            steps = [metric.step for metric in self.client.get_metric_history(self.id, name)]
            position = max(position, Position(max(steps), kind))
        return position

    def send(self, rows: Sequence[Row]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch: list[Any] = []
        for row in rows:
            metrics = [Metric(name, value, now, row.step) for name, value in row.values.items()]
            if len(batch) + len(metrics) > MOST_METRICS:
                self.client.log_batch(self.id, metrics=batch)
                batch = []
            batch += metrics
        self.client.log_batch(self.id, metrics=batch)

    def close(self, status: str, report: Path | None) -> None:
        if report is not None:
            self.client.log_artifact(self.id, str(report))
        self.client.set_terminated(self.id, STATUS[status])


def connect(run: Run) -> MLflow:
    """Open MLflow for a run."""
    connection = MLflow(run)
    connection.configure(run)
    return connection


@contextmanager
def _one_at_a_time(folder: Path | None) -> Iterator[None]:
    """Only one process creates the tables of a new file."""
    if folder is None:
        yield
        return
    from filelock import FileLock

    with FileLock(folder / ".mlflow.lock"):
        yield
