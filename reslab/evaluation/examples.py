"""The most typical and the most doubtful images of each class (NumPy only).

Typical: the features of the image are nearest to the mean of the features of its class, as in the
nearest-class-mean classifier (Mensink et al. 2013). Doubtful: the two most probable classes are
nearly as probable (the smallest margin: Scheffer et al. 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.evaluation import rows

if TYPE_CHECKING:
    from reslab.data import Split

MOST_PICTURES = 160  # over all classes
A_CLASS = 4  # of each kind
FEWEST = 2  # of each kind: of more classes, only those with the largest errors have pictures


def examples(
    split: Split,
    classes: Sequence[str],
    probabilities: np.ndarray,
    positions: np.ndarray,
    features: np.ndarray,
) -> dict[str, Any]:
    """What evaluation.json holds as "examples".

    Args:
        split: The evaluated images.
        classes: The names of the classes.
        probabilities: Of all images, float (n, k).
        positions: Of the images whose features are known, int (m,).
        features: Their features, float (m, d).
    """
    labels = split.labels
    ordered = np.partition(probabilities, -2, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]
    shown = _shown(probabilities.argmax(-1) != labels, labels, len(classes))
    each = int(np.clip(MOST_PICTURES // (2 * max(1, len(shown))), FEWEST, A_CLASS))
    described = []
    for c in shown:
        members = np.flatnonzero(labels == c)
        count = max(1, min(each, len(members) // 2))  # no image is both, if it can be avoided
        doubtful = members[np.argsort(margins[members], kind="stable")[:count]]
        sampled = np.flatnonzero(labels[positions] == c)
        typical = positions[sampled[nearest_to_mean(features[sampled])[:count]]]
        described.append(
            {
                "class": str(classes[c]),
                "typical": [_row(split, i, probabilities[i], classes) for i in typical.tolist()],
                "doubtful": [_row(split, i, probabilities[i], classes) for i in doubtful.tolist()],
            }
        )
    return {"images": len(positions), "of": len(labels), "classes": described}


def nearest_to_mean(features: np.ndarray) -> np.ndarray:
    """The positions of the images of one class, int (m,), the nearest to their mean first."""
    if not len(features):
        return np.zeros(0, np.intp)
    features = features.astype("float64")
    distances = np.square(features - features.mean(0)).sum(-1)
    return np.argsort(distances, kind="stable")


def _shown(wrong: np.ndarray, labels: np.ndarray, k: int) -> list[int]:
    """The classes with images, in order; of many those with the largest errors."""
    sizes = np.bincount(labels, minlength=k)
    errors = np.bincount(labels, wrong, k) / np.maximum(sizes, 1)
    present = np.flatnonzero(sizes)
    worst = present[np.argsort(-errors[present], kind="stable")]
    return sorted(worst[: MOST_PICTURES // (2 * FEWEST)].tolist())


def _row(
    split: Split, index: int, probabilities: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    second, first = np.argsort(probabilities, kind="stable")[-2:].tolist()
    return {
        **rows.prediction(split, index, probabilities, classes),
        "second": classes[second],
        "margin": float(probabilities[first] - probabilities[second]),
    }
