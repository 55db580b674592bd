"""A temperature inside a model: the weights of its last layer are divided by it."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.data.dataset import CLASSIFICATION
from reslab.evaluation.features import last_layer
from reslab.evaluation.temperature import scaled
from reslab.runs.run import Run

TOLERANCE = 1e-4


def temperature_of(run: Run | None, path: Path) -> float:
    """The temperature that the evaluation of a run has.

    Raises:
        UserError: There is no run, or its evaluation has no temperature.
    """
    if run is None:
        raise UserError(f"{path} has no temperature: give the folder of its run")
    if run.info.get("task", CLASSIFICATION) != CLASSIFICATION:
        raise UserError(
            f"{run.path} has several labels per image, and a temperature is for one class per "
            "image: leave --temperature out"
        )
    record = (run.evaluation or {}).get("temperature")
    if not record:
        raise UserError(
            f"{run.path} has no temperature: `reslab evaluate {run.path}` fits one if the run has "
            "validation images and test images"
        )
    if record["value"] is None:
        raise UserError(
            f"{run.path} makes {record['mistakes']} mistakes on {record['images']} validation "
            "images, too few to fit a temperature: leave --temperature out"
        )
    return float(record["value"])


def divide_logits(model: keras.Model, temperature: float, examples: np.ndarray) -> None:
    """Divide the logits of a whole model by a temperature, in place.

    Args:
        model: From images in 0..255 to probabilities by a softmax.
        temperature: Above 0.
        examples: Images on which the effect is checked, uint8 (n, height, width, channels).

    Raises:
        UserError: The layers after the last weights do not keep a factor.
    """
    images = examples.astype("float32")
    before = np.asarray(model.predict_on_batch(images))
    layer = last_layer(model)
    if layer is not None:
        for weight in layer.weights:
            weight.assign(np.asarray(weight) / temperature)
    after = np.asarray(model.predict_on_batch(images))
    if layer is None or np.abs(after - scaled(before, temperature)).max() > TOLERANCE:
        raise UserError(
            f"{model.name} does not end in a layer whose weights can be divided by the "
            "temperature: leave --temperature out"
        )
