"""The first steps of a recipe, in parts: measuring happens in between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.files import read_arrays, write_arrays
from reslab.data import Data, Normalization, Pipeline
from reslab.evaluation.tasks.classification import TASK
from reslab.runs.recipe import Recipe
from reslab.spec import Network
from reslab.training import checkpoints, setup
from reslab.training.feed import source


class ShortTraining:
    """A training that takes the same steps as `reslab.train`, and can stop after each."""

    def __init__(
        self,
        model: keras.Model,
        network: Network,
        data: Data,
        recipe: Recipe,
        normalization: Normalization,
        seed: int,
    ) -> None:
        self.model, self.step = model, 0
        self.pipeline = Pipeline(
            data.train,
            batch=recipe.batch,
            seed=seed,
            augment=recipe.augment,
            normalise=normalization,
        )
        self.targets = TASK.targets(data)
        self.source = source(self.pipeline, model.input_shape)
        total = recipe.total_steps(self.pipeline.steps_per_epoch)
        setup.compile_model(model, recipe, TASK, setup.step_rates(recipe, network, total))

    def advance(self, step: int, report: Callable[[int], None]) -> dict[str, Any] | None:
        """Train until `step`. Returns where and why it stopped if the loss is not finite."""
        if step == self.step:
            return None
        for x, y in self._batches(self.step):
            logs = self.model.train_on_batch(x, self.targets(y)[0])
            loss = float(np.ravel(logs)[0])
            self.step += 1
            report(self.step)
            if not math.isfinite(loss):
                return {"step": self.step, "why": f"the loss was {loss} at step {self.step}"}
            if self.step == step:
                break
        return None

    def _batches(self, start: int) -> Iterator[tuple[Any, np.ndarray]]:
        per_epoch = self.pipeline.steps_per_epoch
        for epoch in count(start // per_epoch):
            first = start % per_epoch if epoch == start // per_epoch else 0
            yield from self.source(epoch, first)

    def save(self, path: Path, name: str) -> None:
        variables = checkpoints.state(self.model)
        arrays = {k: np.asarray(keras.ops.convert_to_numpy(v)) for k, v in variables.items()}
        write_arrays(path, arrays, {"name": name, "step": self.step})

    def restore(self, path: Path, name: str, first: int) -> None:
        """Continue from the saved state if it belongs to `name` and is not past step `first`.

        A state past `first` means that signals.json was lost: the training then starts again.
        """
        if not path.exists():
            return
        arrays, meta = read_arrays(path)
        if meta["name"] == name and meta["step"] <= first:
            for key, variable in checkpoints.state(self.model).items():
                variable.assign(arrays[key])
            self.step = meta["step"]
