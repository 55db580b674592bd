"""A tracker as a value, and the table of all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from reslab.core.errors import UserError, unknown
from reslab.runs.run import Run
from reslab.trackers.rows import Position, Row

PROJECT = "reslab"  # the experiment or project, unless an environment variable names another one


class Connection(ABC):
    """One run in an open tracker.

    Attributes:
        place: Where the tracker keeps it, for a person.
        position: That of the last row that the tracker has.
    """

    place: str
    position: Position

    @abstractmethod
    def send(self, rows: Sequence[Row]) -> None:
        """Take rows that come after `position`, as one transaction if the tracker has them."""

    @abstractmethod
    def close(self, status: str, report: Path | None) -> None:
        """End the connection. All rows are on their disk or server then.

        Args:
            status: "done", "failed", or "running" for a run that will be resumed.
            report: The page about the run, if there is one.
        """


@dataclass(frozen=True)
class Tracker:
    """A library that keeps the results of trainings.

    Attributes:
        name: On the command line; the extra of this name installs it.
        package: What is imported.
    """

    name: str
    package: str

    @property
    def missing(self) -> str:
        """What to do if the package is not installed; "" if it is."""
        if find_spec(self.package) is not None:
            return ""
        return f'{self.name} needs {self.package}: pip install "reslab[{self.name}]"'

    def open(self, run: Run) -> Connection:
        """Open the tracker for a run. A run that it knows is continued."""
        connection: Connection = import_module(f"reslab.trackers.{self.name}").connect(run)
        return connection


TRACKERS = {
    tracker.name: tracker
    for tracker in (
        Tracker("tensorboard", "tensorboardX"),
        Tracker("mlflow", "mlflow"),
        Tracker("wandb", "wandb"),
        Tracker("trackio", "trackio"),
    )
}


def by_name(name: str) -> Tracker:
    """The tracker of this name. Raises UserError for an unknown one."""
    if name not in TRACKERS:
        raise unknown("tracker", name, TRACKERS)
    return TRACKERS[name]


def require(names: Iterable[str]) -> None:
    """Raise UserError for a tracker that is unknown or not installed."""
    for name in names:
        if missing := by_name(name).missing:
            raise UserError(missing)
