"""A model over a split, in order and without augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from reslab.data import Normalization, Split, batches, laid_out

BATCH = 256  # images a call


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy in nats, and the part of the images that were wrong."""

    loss: float
    error: float


def logits(model: keras.Model, split: Split, standard: Normalization, batch: int) -> np.ndarray:
    """float32 (n, classes) for every image of the split."""
    outputs = []
    for x, _ in batches(split, batch, standard):
        answer = model.predict_on_batch(laid_out(x, model.input_shape))
        outputs.append(np.asarray(answer, "float32"))
    return np.concatenate(outputs)


def score(model: keras.Model, split: Split, standard: Normalization, batch: int) -> Score:
    z = logits(model, split, standard, batch)
    return Score(cross_entropy(z, split.labels), float((z.argmax(-1) != split.labels).mean()))


def cross_entropy(z: np.ndarray, labels: Any) -> float:
    """Mean over the images of -log softmax(z)[label]; float64 inside."""
    z = z.astype("float64")
    top = z.max(-1)
    log_sum = np.log(np.exp(z - top[:, None]).sum(-1)) + top
    return float((log_sum - z[np.arange(len(z)), labels]).mean())


def predict_split(model: Any, split: Split) -> np.ndarray:
    """float32 (n, classes): probabilities of every image of the split, in order."""
    parts = [
        np.asarray(
            model.predict_on_batch(split.images(np.arange(i, min(i + BATCH, len(split))))),
            "float32",
        )
        for i in range(0, len(split), BATCH)
    ]
    return np.concatenate(parts)
