"""The outputs of a model for all images of a split, in order and without augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from reslab.data import Normalization, Split, batches, to_layout

BATCH = 256  # images per forward pass


@dataclass(frozen=True)
class Score:
    """The mean cross-entropy in nats and the fraction of wrong images."""

    loss: float
    error: float


def outputs(
    model: keras.Model,
    split: Split,
    normalization: Normalization | None = None,
    batch: int = BATCH,
) -> np.ndarray:
    """The model's outputs for every image of the split, float32 (n, ...).

    Args:
        normalization: None gives the model raw images, uint8: whole models normalise themselves.
    """
    prepare: Any = normalization or (lambda images: images)
    parts = []
    for images, _ in batches(split, batch, prepare):
        output = model.predict_on_batch(to_layout(images, model.input_shape))
        parts.append(np.asarray(output, "float32"))
    return np.concatenate(parts)


def score(model: keras.Model, split: Split, normalization: Normalization, batch: int) -> Score:
    """Loss and error of a model from normalised images to logits."""
    logits = outputs(model, split, normalization, batch)
    wrong = logits.argmax(-1) != split.labels
    return Score(cross_entropy(logits, split.labels), float(wrong.mean()))


def cross_entropy(logits: np.ndarray, labels: Any) -> float:
    """The mean over the images of -log softmax(logits)[label], computed in float64."""
    logits = logits.astype("float64")
    largest = logits.max(-1)
    log_sum = np.log(np.exp(logits - largest[:, None]).sum(-1)) + largest
    return float((log_sum - logits[np.arange(len(logits)), labels]).mean())


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis, computed in float64."""
    powers = np.exp(logits.astype("float64") - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
