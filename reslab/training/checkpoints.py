"""The checkpoints of a training: the state to resume from, and weights that are kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core import files
from reslab.core.errors import UserError
from reslab.models import build, stacked
from reslab.runs.run import Run
from reslab.training.log import Progress, SavedState

LAST, BEST = "last.safetensors", "best.safetensors"


class NotFinite(Exception):
    """The loss or a weight is not finite."""


class Checkpoints:
    """Writes and reads the files in a run's folder `checkpoints`.

    Each file is on the disk before another one that depends on it: the weights of an epoch before
    the state that counts this epoch as finished.
    """

    def __init__(self, run: Run, model: keras.Model) -> None:
        self.run, self.model = run, model
        self.saved_at = time.monotonic()
        self._write: files.Write = files.write_arrays

    @contextmanager
    def in_background(self) -> Iterator[None]:
        """Write from a thread, one file at a time and in order; wait for it at the end."""
        try:
            with files.behind() as self._write:
                yield
        finally:
            self._write = files.write_arrays

    def due(self) -> bool:
        """Whether the time between two checkpoints has passed."""
        return time.monotonic() - self.saved_at > self.run.info["checkpoint_seconds"]

    def save(self, progress: Progress) -> None:
        """Write the state that `restore` reads; raises NotFinite instead of a useless one.

        In the background the file may not be on the disk yet when this returns.
        """
        arrays = stacked.read(state(self.model))
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise NotFinite(f"the weights are not finite after step {progress.step}")
        self.run.sync_log()
        progress.log_bytes = self.run.log_bytes
        self._write(self.run.checkpoints / LAST, arrays, {"progress": progress.to_json()})
        self.saved_at = time.monotonic()

    def restore(self) -> Progress:
        """Go back to the last saved state, or to the beginning if there is none."""
        path, progress = self.run.checkpoints / LAST, Progress()
        if path.exists():
            arrays, meta = files.read_arrays(path, SavedState)
            _assign(_laid_out(arrays, self.model), state(self.model), path)
            progress = Progress.from_json(meta["progress"])
        self.run.cut_log(progress.log_bytes, max(progress.step, progress.earlier_step))
        return progress

    def keep_epoch(self, progress: Progress) -> None:
        """Keep the weights of this epoch, if the run keeps those of every epoch."""
        if self.run.info["keep_checkpoints"]:
            self._keep(f"epoch-{progress.epoch:04d}.safetensors", progress)

    def keep_best(self, progress: Progress) -> None:
        """Keep the weights of the best epoch up to now."""
        self._keep(BEST, progress)

    def _keep(self, name: str, progress: Progress) -> None:
        weights = stacked.read(build.variables(self.model))
        self._write(self.run.checkpoints / name, weights, {"step": progress.step})

    def load_best(self) -> None:
        """Give the model the weights of the best epoch, if one was chosen."""
        path = self.run.checkpoints / BEST
        if path.exists():
            _assign(files.read_arrays(path)[0], build.variables(self.model), path)


def state(model: keras.Model) -> dict[str, Any]:
    """Every variable that a step reads or writes, by a name that does not depend on the process."""
    variables = enumerate(model.optimizer.variables)
    return build.variables(model) | {f"optimizer/{i}_{v.name}": v for i, v in variables}


def _laid_out(arrays: dict[str, np.ndarray], model: keras.Model) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint, stacked if only this model has stacked units.

    Weights are saved layer by layer in any case, but variables of the optimiser as they are: one
    for each variable of the model, called after its path.
    """
    expected = {f"optimizer/{i}_{v.name}": v for i, v in enumerate(model.optimizer.variables)}
    if expected.keys() <= arrays.keys():
        return arrays
    units: dict[int, list[str]] = {}
    for name, v in build.variables(model).items():
        if isinstance(v, stacked.Slice):
            units.setdefault(id(v.whole), []).append(_flat(name))
    single = {k.partition("_")[2]: a for k, a in arrays.items() if k.startswith("optimizer/")}
    laid_out = dict(arrays)
    for variable in model.trainable_variables:
        start = f"{_flat(variable.path)}_"
        for key, slot in expected.items():
            if slot.name.startswith(start):
                kind = slot.name.removeprefix(start)
                names = units.get(id(variable), [start.removesuffix("_")])
                parts = [single[n] for name in names if (n := f"{name}_{kind}") in single]
                if len(parts) == len(names):
                    laid_out[key] = np.stack(parts) if id(variable) in units else parts[0]
    for key, slot in expected.items():
        if key not in laid_out and slot.name in single:  # such as the number of steps
            laid_out[key] = single[slot.name]
    return laid_out


def _flat(path: str) -> str:
    return path.replace("/", "_")


def _assign(arrays: dict[str, np.ndarray], variables: dict[str, Any], path: Path) -> None:
    for name, variable in variables.items():
        array = arrays.get(name)
        if array is None or tuple(array.shape) != tuple(variable.shape):
            raise UserError(
                f"{path} belongs to another network: {name} is "
                f"{'missing' if array is None else array.shape}, not {tuple(variable.shape)}"
            )
        if not np.isfinite(array).all():
            raise UserError(
                f"{path} is damaged: {name} is not finite; restore it from a copy, or train again"
            )
    stacked.assign(variables, {name: arrays[name] for name in variables})
