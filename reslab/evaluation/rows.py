"""Images of a split as rows of JSON records: where they are, and how they look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.evaluation.pictures import png

if TYPE_CHECKING:
    from reslab.data import Split


def picture(split: Split, index: int) -> dict[str, Any]:
    """ "index", "file" (None for arrays) and "png" of an image."""
    return {
        "index": index,
        "file": split.names[index] if split.names is not None else None,
        "png": png(split.images(np.array([index]))[0]),
    }


def prediction(
    split: Split, index: int, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """An image with its label ("true"), the most probable class and its probability.

    `probabilities` are those of this image, float (k,).
    """
    predicted = int(probabilities.argmax())
    row = picture(split, index)
    png = row.pop("png")
    return {
        **row,
        "true": classes[split.labels[index]],
        "predicted": classes[predicted],
        "confidence": float(probabilities[predicted]),
        "png": png,
    }
