"""What a person wants to see of an evaluation beside its numbers, for a classification.

    temperature  how the confidence is corrected, fitted on validation images
    examples     the most typical and the most doubtful images of each class
    map          the images by their features
    suspects     labels that are likely wrong

The validation images, and those whose features are computed, are samples of large parts: they cost
at most 1 % of a training that is not very short (see `reslab.evaluation.suspects.limit`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from reslab.data import Data, Split
from reslab.evaluation import likely_labels, temperature
from reslab.evaluation.examples import examples
from reslab.evaluation.feature_map import feature_map
from reslab.evaluation.features import features
from reslab.evaluation.scoring import outputs
from reslab.evaluation.suspects import limit, sample

MOST_FEATURES = 2048  # images whose features are compared and drawn
MOST_VALIDATION = 20_000  # images for the temperature and the labels


@dataclass(frozen=True)
class Evaluated:
    """An evaluated part of a run's own data.

    Attributes:
        name: "test", or "validation" if there is no test part.
        split: Its images.
        probabilities: The outputs of the model, float (n, k).
        data: The data of the run.
        trained_on: The images of all steps of the training.
    """

    name: str
    split: Split
    probabilities: np.ndarray
    data: Data
    trained_on: int

    def budget(self, most: int) -> int:
        """How many images to pass through the network."""
        return min(most, limit(self.trained_on))


def inspect(model: keras.Model, evaluated: Evaluated) -> dict[str, Any]:
    """The entries of evaluation.json; those that cannot be computed are left out."""
    split, probabilities = evaluated.split, evaluated.probabilities
    classes, validation = evaluated.data.classes, evaluated.data.validation
    parts = [(evaluated.name, split, np.arange(len(split)), probabilities)]
    result: dict[str, Any] = {}
    if evaluated.name == "test" and validation is not None and len(validation):
        chosen = sample(len(validation), evaluated.budget(MOST_VALIDATION))
        unseen = validation if len(chosen) == len(validation) else validation.take(chosen)
        fitted_on = outputs(model, unseen)
        result["temperature"] = temperature.record(
            fitted_on, unseen.labels, probabilities, split.labels
        )
        parts.append(("validation", validation, chosen, fitted_on))
    positions = sample(len(split), evaluated.budget(MOST_FEATURES))
    vectors = features(model, split, positions)
    if vectors is not None and np.isfinite(vectors).all():
        result["examples"] = examples(split, classes, probabilities, positions, vectors)
        result["map"] = feature_map(split, probabilities, positions, vectors)
    result["suspects"] = likely_labels.find(parts, classes)
    return {key: value for key, value in result.items() if value is not None}
