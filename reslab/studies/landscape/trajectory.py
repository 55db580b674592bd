"""A training on its principal plane: the projected checkpoints, and the loss on the plane."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.core.files import read_arrays
from reslab.core.paths import regular
from reslab.runs.run import Run
from reslab.studies.landscape.directions import Plane, principal
from reslab.studies.landscape.evaluator import Evaluator
from reslab.studies.landscape.point_log import Key
from reslab.studies.trained import kept_checkpoints

LEAST = 3  # checkpoints that a plane needs
MARGIN = 0.15  # around the path, of its extent


class Passage:
    """The kept checkpoints of a run, and their plane.

    The plane contains the last checkpoint, whose running statistics it uses. All trained variables
    are projected: kernels, biases, batch norm's scales and shifts.
    """

    def __init__(self, run: Run, evaluator: Callable[[], Evaluator]) -> None:
        self.run, self._evaluator = run, evaluator
        self.checkpoints = enough(run)
        self.plane_info: dict[str, Any] = {}

    def plane(self, grid: int) -> dict[str, Any]:
        """The plane as JSON; `results.Trajectory` reads it."""
        a, b = (_around(self._plane.at[:, k], grid) for k in (0, 1))
        at = self._plane.at.tolist()
        share = self._plane.share
        self.plane_info = {"names": self.checkpoints, "share": share, "at": at}
        self.plane_info |= {"a": a.tolist(), "b": b.tolist()}
        return self.plane_info

    def continue_with(self, plane_info: dict[str, Any]) -> None:
        """Use a stored plane. UserError if it belongs to other checkpoints."""
        if plane_info["names"] != self.checkpoints:
            raise UserError(
                f"the checkpoints of {self.run.path} are not those of the plane in this study: "
                "choose another --out"
            )
        self.plane_info = plane_info

    @cached_property
    def _plane(self) -> Plane:
        variables = self._evaluator().subject.variables()
        names = [name for name, v in variables.items() if v.trainable]
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(_opened(self._file(c))) for c in self.checkpoints]
            return principal(names, lambda n: np.stack([file.get_tensor(n) for file in files]))

    @cached_property
    def evaluator(self) -> Evaluator:
        """At the last checkpoint, with the directions of the plane."""
        self._assign(-1)
        evaluator = self._evaluator().from_here()
        evaluator.along(*self._plane.axes)
        return evaluator

    def checkpoint(self, key: Key) -> dict[str, float]:
        """For the key (run, checkpoint): its loss, and the loss of the plane at its projection."""
        on_plane = self.evaluator.at(*self.plane_info["at"][key[1]])
        self._assign(key[1])
        point = self.evaluator.here()
        self.evaluator.restore()
        return {"loss": point.loss, "error": point.error, "on_plane": on_plane.loss}

    def point(self, key: Key) -> dict[str, float]:
        """For the key (run, i, j): the loss of the plane."""
        return vars(self.evaluator.at(self.plane_info["a"][key[1]], self.plane_info["b"][key[2]]))

    def _file(self, checkpoint: str) -> Path:
        return self.run.checkpoints / f"{checkpoint}.safetensors"

    def _assign(self, checkpoint: int) -> None:
        subject = self._evaluator().subject
        arrays = read_arrays(self._file(self.checkpoints[checkpoint]))[0]
        subject.assign({name: arrays[name] for name in subject.variables()})


def enough(run: Run) -> list[str]:
    """The names of the kept checkpoints. UserError if there are too few for a plane."""
    checkpoints = kept_checkpoints(run)
    if len(checkpoints) < LEAST:
        raise UserError(f"{run.path} has {len(checkpoints)} checkpoints: a plane needs {LEAST}")
    return checkpoints


def _opened(path: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(regular(path), framework="numpy")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a reslab checkpoint: {error}") from None


def _around(at: np.ndarray, grid: int) -> np.ndarray:
    """(grid,) steps with a margin around the path."""
    low, high = float(at.min()), float(at.max())
    margin = MARGIN * (high - low) or 1.0
    return np.linspace(low - margin, high + margin, grid)
