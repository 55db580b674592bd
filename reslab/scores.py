"""A model over a split, in order and without augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from reslab.data import Split, Standardise, batches, laid_out


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy in nats, and the part of the images that were wrong."""

    loss: float
    error: float


def logits(model: keras.Model, split: Split, standard: Standardise, batch: int) -> np.ndarray:
    """float32 (n, classes) for every image of the split."""
    outputs = []
    for x, _ in batches(split, batch, standard):
        answer = model.predict_on_batch(laid_out(x, model.input_shape))
        outputs.append(np.asarray(answer, "float32"))
    return np.concatenate(outputs)


def score(model: keras.Model, split: Split, standard: Standardise, batch: int) -> Score:
    z = logits(model, split, standard, batch)
    return Score(cross_entropy(z, split.labels), float((z.argmax(-1) != split.labels).mean()))


def cross_entropy(z: np.ndarray, labels: Any) -> float:
    """Mean over the images of -log softmax(z)[label]; float64 inside."""
    z = z.astype("float64")
    top = z.max(-1)
    log_sum = np.log(np.exp(z - top[:, None]).sum(-1)) + top
    return float((log_sum - z[np.arange(len(z)), labels]).mean())
