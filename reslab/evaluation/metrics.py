"""Metrics of a classification, from probabilities and labels (NumPy only).

Every rate comes with the number of images and with its 95 % interval. The intervals cover the
sampling of the images, not the spread over seeds.

Ties count against the network: an image is right only if the true class is strictly more probable
than every other class, and within the top five only if fewer than five others are as probable. A
network with equal probabilities for all classes is always wrong, not right for the class that is
listed first. The confusion matrix, the accuracy and the top-5 error never contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reslab.core.errors import UserError

Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile
BINS = 15  # equal-width confidence bins, as in Guo et al. 2017, "On Calibration of Modern Networks"
EDGES = np.linspace(0.0, 1.0, BINS + 1)  # of the bins
PAIRS = 20  # most confused pairs that are kept
FEWEST_FOR_TOP5 = 6  # with five classes or fewer the top five are all classes
FLOOR = 1e-7  # the loss raises smaller probabilities to it, as Keras's cross-entropy does
A_PAIR = 4  # mistakes that `sample_mistakes` takes of one pair before the next pair


def wilson(hits: float, n: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a rate of `hits` in `n` (Wilson 1927), 95 % by default.

    It is (0, 1) if n is 0. The hits of a mean over several runs need not be a whole number. `z` is
    the quantile of the normal distribution.
    """
    if n == 0:
        return 0.0, 1.0
    rate, z2 = hits / n, z * z
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    margin = z * np.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and n hits the bound is the rate itself; computed, it would be rounded.
    low = 0.0 if hits == 0 else float(centre - margin)
    high = 1.0 if hits == n else float(centre + margin)
    return low, high


def classification_metrics(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> dict[str, Any]:
    """The metrics in evaluation.json, from `probabilities` (n, k) and `labels` (n,).

    A class without images has error None and is not part of the balanced accuracy. Raises
    UserError if there are no images, or the numbers are not probabilities.
    """
    probabilities, labels = _checked(probabilities, labels, len(classes))
    n = len(labels)
    of_true_class = probabilities[np.arange(n), labels]
    predicted = _predicted(probabilities, labels)
    right = predicted == labels
    confusion = _confusion(labels, predicted, len(classes))
    per_class = _per_class(confusion, classes)
    recalls = [1 - row["error"] for row in per_class if row["n"]]
    return {
        "n": n,
        "loss": float(-np.log(np.maximum(of_true_class.astype(np.float64), FLOOR)).mean()),
        "top1_error": rate(n - int(right.sum()), n),
        "top5_error": _top5_error(probabilities, of_true_class),
        "balanced_accuracy": float(np.mean(recalls)),
        "accuracy": int(right.sum()) / n,
        "per_class": per_class,
        "calibration": calibration(probabilities.max(axis=1), right),
        "classes": [str(name) for name in classes],
        "confusion": confusion.tolist(),
        "confused": _confused(confusion, classes),
    }


def sample_mistakes(probabilities: np.ndarray, labels: np.ndarray, limit: int) -> np.ndarray:
    """Indices of at most `limit` mistakes, those of the most confused pair first.

    Each pair (true, predicted) contributes its four most confident mistakes, the most confused pair
    first. While there are fewer than `limit`, each pair contributes its next four, and so on.
    """
    probabilities, labels = _checked(probabilities, labels, probabilities.shape[-1])
    predicted = _predicted(probabilities, labels)
    indices = np.flatnonzero(predicted != labels)
    if indices.size == 0 or limit <= 0:
        return np.zeros(0, dtype=np.intp)
    pairs = labels[indices] * probabilities.shape[1] + predicted[indices]
    _, which, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    pair_rank = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")[which]
    confidence = probabilities[indices, predicted[indices]]
    order = np.lexsort((indices, -confidence, pair_rank))
    starts = np.concatenate([[0], np.cumsum(np.sort(counts)[::-1])[:-1]])
    rank = np.arange(indices.size) - starts[pair_rank[order]]
    return indices[order[np.argsort(rank // A_PAIR, kind="stable")]][:limit]


def _checked(
    probabilities: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    probabilities, labels = np.asarray(probabilities), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise UserError(
            f"probabilities of shape {probabilities.shape} and labels of shape {labels.shape} "
            "do not belong together; give (n, k) and (n,)"
        )
    if len(labels) == 0:
        raise UserError("there are no images to evaluate; give a split that has some")
    if probabilities.shape[1] != classes:
        raise UserError(
            f"the model tells {probabilities.shape[1]} classes apart and the data have {classes}; "
            "give data with the model's classes"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise UserError(f"labels must be whole numbers, not {labels.dtype}")
    if labels.min() < 0 or labels.max() >= classes:
        raise UserError(f"labels must lie in 0..{classes - 1}, not {labels.min()}..{labels.max()}")
    if probabilities.dtype not in (np.float32, np.float64):
        probabilities = probabilities.astype(np.float64)
    _check_values(probabilities)
    return probabilities, labels.astype(np.intp)


def _check_values(probabilities: np.ndarray) -> None:
    bad = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
    if bad.size:
        raise UserError(
            f"the model gives NaN or infinity for {bad.size} of {len(probabilities)} images "
            f"(the first is number {bad[0]}); train with a lower rate"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    # Half precision rounds each of k numbers, so the sum is not 1 to many digits.
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 0.02:
        raise UserError("the model's outputs are not probabilities; apply a softmax to its logits")


def _predicted(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The most probable class of each image (n,); not the true one if another ties with it."""
    rows = np.arange(len(labels))
    rivals = probabilities.copy()
    rivals[rows, labels] = -1.0
    best = rivals.argmax(axis=1)
    return np.where(probabilities[rows, labels] > rivals[rows, best], labels, best)


def rate(hits: int, n: int) -> dict[str, float]:
    """`hits` in `n` with the 95 % Wilson interval."""
    low, high = wilson(hits, n)
    return {"value": hits / n, "low": low, "high": high}


def _top5_error(probabilities: np.ndarray, of_true_class: np.ndarray) -> dict[str, float] | None:
    if probabilities.shape[1] < FEWEST_FOR_TOP5:
        return None
    as_probable = (probabilities >= of_true_class[:, None]).sum(axis=1) - 1  # without itself
    return rate(int((as_probable >= 5).sum()), len(of_true_class))


def _confusion(labels: np.ndarray, predicted: np.ndarray, k: int) -> np.ndarray:
    """Counts (k, k): rows true, columns predicted."""
    return np.bincount(labels * k + predicted, minlength=k * k).reshape(k, k)


def _per_class(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for name, counts, hits in zip(classes, confusion, confusion.diagonal(), strict=True):
        n = int(counts.sum())
        low, high = wilson(n - int(hits), n)
        error = (n - int(hits)) / n if n else None
        rows.append({"class": str(name), "n": n, "error": error, "low": low, "high": high})
    return rows


def bin_of(confidence: np.ndarray) -> np.ndarray:
    """The confidence bin of each image, int (n,). A bin includes its upper edge."""
    # Half precision gives values up to 1e-3 above 1.
    return np.clip(np.digitize(confidence, EDGES, right=True) - 1, 0, BINS - 1)


def calibration(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """The expected calibration error: the mean gap between confidence and accuracy of the bins,
    weighted by their images."""
    which = bin_of(confidence)
    bins: list[dict[str, Any]] = []
    ece = 0.0
    for b in range(BINS):
        inside = which == b
        n = int(inside.sum())
        mean = float(confidence[inside].mean(dtype=np.float64)) if n else None
        accuracy = float(right[inside].mean()) if n else None
        if mean is not None and accuracy is not None:
            ece += n / len(right) * abs(mean - accuracy)
        low, high = float(EDGES[b]), float(EDGES[b + 1])
        bins.append({"low": low, "high": high, "n": n, "confidence": mean, "accuracy": accuracy})
    return {"ece": ece, "bins": bins}


def _confused(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs with most mistakes; among equals the one with the larger part of its class."""
    true, predicted = np.nonzero(confusion * (1 - np.eye(len(classes), dtype=confusion.dtype)))
    counts, of = confusion[true, predicted], confusion.sum(axis=1)[true]
    order = np.lexsort((predicted, true, of, -counts))[:PAIRS]
    return [
        {
            "true": str(classes[true[i]]),
            "predicted": str(classes[predicted[i]]),
            "count": int(counts[i]),
            "of": int(of[i]),
        }
        for i in order
    ]
