"""Images of a model's own data, on which an exported file is compared, calibrated and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.data import discovery
from reslab.evaluation import evaluation, recorded_data
from reslab.evaluation.inputs import inputs
from reslab.evaluation.tasks.registry import task_of
from reslab.runs.run import Run
from reslab.weights.preprocessing import Preprocessing

MADE = 16  # images that are made where there are no data


@dataclass(frozen=True)
class Sample:
    """Images as a model takes them, in RGB or grey.

    Attributes:
        read: Reads the images at positions, int (k,): uint8 (k, height, width, channels).
        length: How many there are.
        text: What they are, for reports: "validation images".
        labels: The class of each image, or 0 and 1 for several labels; None if they are not known.
        real: Whether they are pictures of the data rather than made ones.
    """

    read: Callable[[np.ndarray], np.ndarray]
    length: int
    text: str
    labels: np.ndarray | None = None
    real: bool = True

    def spread(self, count: int) -> np.ndarray:
        """The positions of at most `count` images, evenly spaced."""
        return np.unique(np.linspace(0, self.length - 1, min(count, self.length)).astype(int))


def of_run(run: Run, card: Mapping[str, Any]) -> Sample | None:
    """Validation images of a run; None if its data are gone."""
    try:
        data = recorded_data.reload(run)
    except (UserError, OSError):  # or they were made in Python
        return None
    if list(data.train.image_shape) != list(card["image_shape"]):
        return None
    part, name = (data.validation, "validation") if data.validation else (data.train, "training")
    return Sample(part.images, len(part), f"{name} images", part.labels)


def of_data(data: Any, card: Mapping[str, Any], model: str) -> Sample:
    """The images of other data with the classes of a model."""
    loaded = task_of(card).matched(evaluation.load_for(card, data), card, model)
    part = loaded.test or loaded.train
    return Sample(part.images, len(part), f"images of {loaded.name}", part.labels)


def of_pictures(folder: str | Path, preprocessing: Preprocessing) -> Sample:
    """The pictures in a folder, prepared as published weights want it."""
    listed = inputs([folder], discovery.Kinds())

    def read(positions: np.ndarray) -> np.ndarray:
        return np.stack([preprocessing.picture(listed[i].open()) for i in positions])

    return Sample(read, len(listed), f"pictures of {folder}")


def made(shape: tuple[int, int, int]) -> Sample:
    """Random pictures with structure at several scales, as photos have it."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    images = np.zeros((MADE, *shape))
    for step in (1, 4, 16, 64):
        rows, columns = -(-height // step), -(-width // step)
        blocks = rng.uniform(0, 64, (MADE, rows, columns, channels))
        images += blocks.repeat(step, 1).repeat(step, 2)[:, :height, :width]
    return Sample(images.astype(np.uint8).__getitem__, MADE, "made images", real=False)
