"""Evaluation of exported files, on the images and with the metrics of an evaluation of a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE
from reslab.data import Data, Split
from reslab.data.sources.files import FileSplit
from reslab.engines.exported import Exported
from reslab.evaluation import evaluation, unseen
from reslab.evaluation.recorded_data import reload
from reslab.evaluation.scoring import outputs
from reslab.evaluation.tasks.registry import task_of
from reslab.runs.run import Run
from reslab.weights import preprocessing
from reslab.weights.preprocessing import Preprocessing

log = logging.getLogger("reslab.evaluation")


class FileModel:
    """An exported file in the place of a Keras model: images of its size to probabilities."""

    def __init__(self, file: Exported) -> None:
        height, width, channels = file.card["image_shape"]
        self.input_shape = (None, height, width, channels)
        self.file = file.behind_view()
        order = file.card.get("preprocessing", {}).get("order", "rgb")
        self.reversed = order == "bgr" and not file.fixed_size

    def predict_on_batch(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (n, classes), of RGB or grey images (n, height, width, c)."""
        taken = images[..., ::-1] if self.reversed else images
        return self.file.probabilities(np.ascontiguousarray(taken))


@dataclass(frozen=True, eq=False)
class PreparedSplit(FileSplit):
    """Image files, resized and cropped as published weights want it."""

    preprocessing: Preprocessing | None = None

    def decode(self, position: int, *augmentation: Any) -> np.ndarray:  # none in an evaluation
        assert self.preprocessing is not None
        return self.preprocessing.picture(self.root / self.names[position])


def evaluate_file(
    file: Exported,
    data: Any = None,
    keep_seen: bool = False,
    columns: Mapping[str, str] | None = None,
    skip_bad: bool = False,
) -> dict[str, Any]:
    """Evaluate an exported file. The other arguments and the result are those of `evaluate`.

    Without `data` the file must lie in the folder of its run: the test set of the run is read, and
    its evaluation counts one more reading.

    Raises:
        UserError: There are no data, or they do not fit.
    """
    run = run_of(file.path, file.card)
    if data is not None:
        other = evaluation.load_for(file.card, data, columns, skip_bad)
        other = task_of(file.card).matched(other, file.card, str(file.path))
        return _evaluate_on(file, run, other, own_data=False, keep_seen=keep_seen)
    if run is None:
        raise UserError(
            f"{file.path} is not in the folder of its run: say which images with --data"
        )
    with run.only_writer():  # two evaluations at once would both count one reading
        result = _evaluate_on(file, run, reload(run), own_data=True, keep_seen=keep_seen)
        result |= evaluation.readings(run, result["when"])
        _count_reading(run, result)
    return result


def _evaluate_on(
    file: Exported, run: Run | None, data: Data, own_data: bool, keep_seen: bool
) -> dict[str, Any]:
    """The evaluation on loaded data, as `evaluation.evaluate_on` has it for a run."""
    card, task = file.card, task_of(file.card)
    task.check(data, card, str(file.path))
    name, split = evaluation.split_of(data, own_data)
    seen: dict[str, Any] = {"count": 0, "of": len(split), "by_this_run": 0, "left_out": True}
    if run is not None:
        split, seen = unseen.leave_out_seen(run, split, data, own_data, keep_seen)
    probabilities = outputs(cast(keras.Model, FileModel(file)), _prepared(split, card))
    result = task.evaluate(probabilities, split, data, card) | {"seen": seen, "split": name}
    return result | evaluation.described(result, file.path, data, own_data, keep_seen)


def _count_reading(run: Run, result: Mapping[str, Any]) -> None:
    """Note in the run's evaluation that its test set was read once more."""
    counts = {key: result[key] for key in ("readings", "first_read")}
    try:
        if previous := run.evaluation:
            evaluation.store(run, {**previous, **counts})
    except UserError as error:  # damaged, or a disk that cannot be written: the result stands
        log.warning("this reading of the test set is not counted: %s", error)


def run_of(path: Path, card: Mapping[str, Any]) -> Run | None:
    """The run in whose folder an exported file lies; None if it lies elsewhere."""
    folder = path.absolute().parent
    if not (folder / RUN_FILE).exists():
        return None
    run = Run.open(folder)
    return run if run.info["data"]["classes"] == card["classes"] else None


def _prepared(split: Split, card: Mapping[str, Any]) -> Split:
    """The images of a split as the model of a file takes them."""
    if "view" in card:
        return split
    if not isinstance(split, FileSplit):
        raise UserError("published weights are evaluated on image files: give a folder or a table")
    values = {field.name: getattr(split, field.name) for field in fields(FileSplit)}
    return PreparedSplit(**values, preprocessing=preprocessing.decode(card["preprocessing"]))
