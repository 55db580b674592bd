"""Probabilities and labels to the numbers that a report may claim (numpy only).

Every rate comes with how many images it rests on, and with the interval in which the true rate
lies 95 times in 100. The intervals cover the drawing of the images, not the spread over seeds.

Ties count against the net: an image is right only if the true class is strictly more probable
than every other, and within the top five only if fewer than five others are as probable. A net
that finds all classes alike is therefore always wrong, not right for whatever class is listed
first, and the confusion matrix, the accuracy and the top-5 error never contradict each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reslab.core.errors import UserError

Z95 = 1.959963984540054  # the normal distribution's 97.5 % quantile
BINS = 15  # equal-width confidence bins, as in Guo et al. 2017, "On Calibration of Modern Networks"
PAIRS = 20  # most confused pairs that are kept
FEWEST_FOR_TOP5 = 6  # with five classes or fewer the top five hold every one
FLOOR = 1e-7  # a probability below it counts as it in the loss, as in Keras's cross-entropy
A_PAIR = 4  # mistakes that `wrong` takes of one pair before it goes on to the next


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a rate of `hits` in `n` (Wilson 1927): (0, 1) where n is 0."""
    if n == 0:
        return 0.0, 1.0
    rate, z2 = hits / n, Z95 * Z95
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    reach = Z95 * np.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    # At 0 and n hits the bound is the rate itself, but for rounding.
    low = 0.0 if hits == 0 else float(middle - reach)
    high = 1.0 if hits == n else float(middle + reach)
    return low, high


def judge(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """All of evaluation.json that follows from `probabilities` (n, k) and `labels` (n,).

    A class without an image has error None; it does not enter the balanced accuracy. Raises
    UserError where there is nothing to judge, or the numbers are not probabilities.
    """
    probabilities, labels = _checked(probabilities, labels, len(classes))
    n = len(labels)
    own = probabilities[np.arange(n), labels]
    predicted = _predicted(probabilities, labels)
    right = predicted == labels
    confusion = _confusion(labels, predicted, len(classes))
    per_class = _per_class(confusion, classes)
    recalls = [1 - row["error"] for row in per_class if row["n"]]
    return {
        "n": n,
        "loss": float(-np.log(np.maximum(own.astype(np.float64), FLOOR)).mean()),
        "top1_error": _rate(n - int(right.sum()), n),
        "top5_error": _top5_error(probabilities, own) if len(classes) >= FEWEST_FOR_TOP5 else None,
        "balanced_accuracy": float(np.mean(recalls)),
        "accuracy": int(right.sum()) / n,
        "per_class": per_class,
        "calibration": _calibration(probabilities.max(axis=1), right),
        "classes": [str(name) for name in classes],
        "confusion": confusion.tolist(),
        "confused": _confused(confusion, classes),
    }


def wrong(probabilities: np.ndarray, labels: np.ndarray, limit: int) -> np.ndarray:
    """Indices of at most `limit` mistakes to look at, those of the most confused pair first.

    Each pair (true, predicted) gives its four most confident mistakes, then the next pair; if
    images are still wanted when all pairs gave, each gives its next four, and so on.
    """
    probabilities, labels = _checked(probabilities, labels, probabilities.shape[-1])
    predicted = _predicted(probabilities, labels)
    mistakes = np.flatnonzero(predicted != labels)
    if mistakes.size == 0 or limit <= 0:
        return np.zeros(0, dtype=np.intp)
    pairs = labels[mistakes] * probabilities.shape[1] + predicted[mistakes]
    _, which, counts = np.unique(pairs, return_inverse=True, return_counts=True)
    place = np.argsort(np.argsort(-counts, kind="stable"), kind="stable")[which]
    confidence = probabilities[mistakes, predicted[mistakes]]
    order = np.lexsort((mistakes, -confidence, place))
    starts = np.concatenate([[0], np.cumsum(np.sort(counts)[::-1])[:-1]])
    rank = np.arange(mistakes.size) - starts[place[order]]
    return mistakes[order[np.argsort(rank // A_PAIR, kind="stable")]][:limit]


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
        raise UserError("there is no image to judge; give a split that has some")
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
            f"(the first is number {bad[0]}); judge an earlier checkpoint, or train at a lower rate"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    # Half precision rounds each of k numbers, so the sum is not 1 to many digits.
    if probabilities.min() < 0 or np.abs(sums - 1).max() > 0.02:
        raise UserError("the model's outputs are not probabilities; apply a softmax to its logits")


def _predicted(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The most probable class of each image, another than the true one where they tie: (n,)."""
    rows = np.arange(len(labels))
    rivals = probabilities.copy()
    rivals[rows, labels] = -1.0
    best = rivals.argmax(axis=1)
    return np.where(probabilities[rows, labels] > rivals[rows, best], labels, best)


def _rate(errors: int, n: int) -> dict[str, float]:
    low, high = wilson(errors, n)
    return {"value": errors / n, "low": low, "high": high}


def _top5_error(probabilities: np.ndarray, own: np.ndarray) -> dict[str, float]:
    as_probable = (probabilities >= own[:, None]).sum(axis=1) - 1  # but for the class itself
    return _rate(int((as_probable >= 5).sum()), len(own))


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


def _calibration(confidence: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    """Expected calibration error: the mean gap of confidence and accuracy, by images a bin."""
    edges = np.linspace(0.0, 1.0, BINS + 1)
    # A bin holds its upper edge; 1e-3 above 1 is half precision's doing.
    which = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, BINS - 1)
    bins: list[dict[str, Any]] = []
    ece = 0.0
    for b in range(BINS):
        inside = which == b
        n = int(inside.sum())
        sure = float(confidence[inside].mean(dtype=np.float64)) if n else None
        hit = float(right[inside].mean()) if n else None
        if sure is not None and hit is not None:
            ece += n / len(right) * abs(sure - hit)
        low, high = float(edges[b]), float(edges[b + 1])
        bins.append({"low": low, "high": high, "n": n, "confidence": sure, "accuracy": hit})
    return {"ece": ece, "bins": bins}


def _confused(confusion: np.ndarray, classes: Sequence[str]) -> list[dict[str, Any]]:
    """The pairs with most mistakes; of equal ones first the pair that is more of its class."""
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
