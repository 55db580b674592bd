"""A training on its own principal plane: where it passed, and what the loss was there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.core.files import read_arrays
from reslab.runs.run import Run
from reslab.studies.landscape.directions import Plane, principal
from reslab.studies.landscape.evaluator import Evaluator
from reslab.studies.landscape.point_log import Key
from reslab.studies.trained import kept_checkpoints

LEAST = 3  # checkpoints: fewer have no plane
MARGIN = 0.15  # of the way's extent, around it


class Passage:
    """The kept checkpoints of a run. The plane goes through the last of them, with its statistics.

    All that was trained is projected: kernels, biases, batch norm's scales and shifts.
    """

    def __init__(self, run: Run, evaluator: Callable[[], Evaluator]) -> None:
        self.run, self._evaluator = run, evaluator
        self.checkpoints = enough(run)
        self.known: dict[str, Any] = {}

    def facts(self, grid: int) -> dict[str, Any]:
        """What is kept of the plane as JSON: `surfaces.Trajectory` reads it."""
        a, b = (_around(self._plane.at[:, k], grid) for k in (0, 1))
        at = self._plane.at.tolist()
        share = self._plane.share
        self.known = {"names": self.checkpoints, "share": share, "at": at}
        self.known |= {"a": a.tolist(), "b": b.tolist()}
        return self.known

    def go_on(self, known: dict[str, Any]) -> None:
        """With a plane that was kept; UserError where it is not that of these checkpoints."""
        if known["names"] != self.checkpoints:
            raise UserError(
                f"the checkpoints of {self.run.path} are others than those whose plane this study "
                "has: choose another --out"
            )
        self.known = known

    @cached_property
    def _plane(self) -> Plane:
        variables = self._evaluator().subject.variables()
        names = [name for name, v in variables.items() if v.trainable]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(_opened(self._file(c))) for c in self.checkpoints]
            return principal(names, lambda n: np.stack([file.get_tensor(n) for file in files]))

    @cached_property
    def evaluator(self) -> Evaluator:
        """Standing at the last checkpoint, its directions those of the plane."""
        self._assign(-1)
        found = self._evaluator().from_here()
        found.along(*self._plane.axes)
        return found

    def checkpoint(self, key: Key) -> dict[str, float]:
        """Of (run, checkpoint): its own loss, with its own statistics; the plane's below it."""
        on_plane = self.evaluator.at(*self.known["at"][key[1]])
        self._assign(key[1])
        own = self.evaluator.here()
        self.evaluator.restore()
        return {"loss": own.loss, "error": own.error, "on_plane": on_plane.loss}

    def point(self, key: Key) -> dict[str, float]:
        """Of (run, i, j): the plane's loss."""
        return vars(self.evaluator.at(self.known["a"][key[1]], self.known["b"][key[2]]))

    def _file(self, checkpoint: str) -> Path:
        return self.run.checkpoints / f"{checkpoint}.safetensors"

    def _assign(self, checkpoint: int) -> None:
        subject = self._evaluator().subject
        arrays = read_arrays(self._file(self.checkpoints[checkpoint]))[0]
        subject.assign({name: arrays[name] for name in subject.variables()})


def enough(run: Run) -> list[str]:
    """The names of the kept checkpoints; raises UserError where they span no plane."""
    found = kept_checkpoints(run)
    if len(found) < LEAST:
        raise UserError(f"{run.path} has kept {len(found)} checkpoints: a plane needs {LEAST}")
    return found


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a checkpoint of reslab: {error}") from None


def _around(at: np.ndarray, grid: int) -> np.ndarray:
    """(grid,) steps that leave a margin around the way."""
    low, high = float(at.min()), float(at.max())
    margin = MARGIN * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, grid)
