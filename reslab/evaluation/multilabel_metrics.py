"""Metrics of several labels per image, from probabilities and labels (NumPy only).

A label is predicted if its probability is at least its threshold. Precision, recall and exact match
have 95 % Wilson intervals; average precision and F1, which are no rates of images, have percentiles
of a bootstrap over the images. Macro means are over the labels that occur.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.evaluation import bootstrap
from reslab.evaluation.bootstrap import percentiles
from reslab.evaluation.metrics import FLOOR, wilson

DEFAULT_THRESHOLD = 0.5
FEWEST = 5  # validation images with and without a label, below which its threshold is the default
CURVE_POINTS = 60  # of a precision-recall curve that are kept


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """The area under the precision-recall steps, as in scikit-learn; None without a positive.

    Args:
        scores: float (n,).
        labels: 0 or 1, (n,).
    """
    positives = int(labels.sum())
    if positives == 0:
        return None
    precision, recall, _ = _curve(scores, labels)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def mean_average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """The mean over the labels that occur; None if none does. Both arrays are (n, k)."""
    values = [average_precision(s, y) for s, y in zip(scores.T, labels.T, strict=True)]
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> tuple[list[float], list[int]]:
    """The threshold of each label with the highest F1, and the positions of the labels with one.

    A threshold is half-way between two probabilities that occur. Labels with fewer than `FEWEST`
    images, or so many that fewer are without it, keep 0.5.
    """
    thresholds, chosen = [], []
    for i, (scores, y) in enumerate(zip(probabilities.T, labels.T, strict=True)):
        positives = int(y.sum())
        if min(positives, len(y) - positives) < FEWEST:
            thresholds.append(DEFAULT_THRESHOLD)
            continue
        precision, recall, values = _curve(scores, y)
        sums = np.maximum(precision + recall, 1e-12)
        f1 = 2 * precision * recall / sums
        next_values = np.append(values[1:], 0.0)
        halves = (values + next_values) / 2
        best = np.flatnonzero(f1 >= f1.max() - 1e-12)
        nearest = best[np.argmin(np.abs(halves[best] - DEFAULT_THRESHOLD))]
        thresholds.append(float(halves[nearest]))
        chosen.append(i)
    return thresholds, chosen


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The mean binary cross-entropy over images and labels, in nats."""
    p = np.clip(probabilities.astype(np.float64), FLOOR, 1 - FLOOR)
    return float(-np.where(labels == 1, np.log(p), np.log1p(-p)).mean())


def multilabel_metrics(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    thresholds: Sequence[float],
) -> dict[str, Any]:
    """The metrics in evaluation.json.

    Args:
        probabilities: float (n, k).
        labels: 0 or 1, (n, k).
        classes: The names of the labels.
        thresholds: One for each label.

    Raises:
        UserError: There are no images, or the numbers are not probabilities.
    """
    check(probabilities, labels, len(classes))
    n = len(labels)
    predicted = probabilities >= np.asarray(thresholds)
    right = int((predicted == labels).all(1).sum())
    samples = _Bootstrap(probabilities, labels, predicted)
    low, high = wilson(right, n)
    return {
        "n": n,
        "loss": cross_entropy(probabilities, labels),
        "mean_average_precision": samples.map,
        "micro_f1": samples.micro_f1,
        "macro_f1": samples.macro_f1,
        "exact_match": {"value": right / n, "low": low, "high": high},
        "label_error": float((predicted != labels).mean()),
        "per_label": _per_label(predicted, labels, classes, thresholds, samples),
        "classes": [str(name) for name in classes],
        "without_label": int((labels.sum(1) == 0).sum()),
        "without_prediction": int((~predicted.any(1)).sum()),
        "absent": [str(c) for c, count in zip(classes, labels.sum(0), strict=True) if not count],
        "cooccurrence": (labels.T.astype(np.int64) @ labels).tolist(),
        "curves": [_thinned(s, y) for s, y in zip(probabilities.T, labels.T, strict=True)],
    }


def check(probabilities: np.ndarray, labels: np.ndarray, classes: int) -> None:
    """Raise UserError if these are not the probabilities and labels of images."""
    if len(labels) == 0:
        raise UserError("there are no images to evaluate; give a split that has some")
    if probabilities.shape != labels.shape or labels.shape[-1] != classes:
        raise UserError(
            f"outputs of shape {probabilities.shape} and labels of shape {labels.shape} do not "
            "belong together; give data with the model's labels"
        )
    bad = np.flatnonzero(~np.isfinite(probabilities).all(1))
    if bad.size:
        raise UserError(
            f"the model gives NaN or infinity for {bad.size} of {len(probabilities)} images "
            f"(the first is number {bad[0]}); train with a lower rate"
        )
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise UserError("the model's outputs are not probabilities; apply a sigmoid to its logits")


def _curve(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision and recall at each distinct score, from the highest one on, and the scores."""
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(labels[order])
    last = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)
    return hits[last] / (last + 1), hits[last] / max(1, int(hits[-1])), ordered[last]


def _thinned(scores: np.ndarray, labels: np.ndarray) -> list[list[float]]:
    """At most `CURVE_POINTS` points (recall, precision) of a curve, evenly by recall."""
    if not labels.any():
        return []
    precision, recall, _ = _curve(scores, labels)
    # A point for each distinct recall: the first one has the highest precision.
    _, first = np.unique(recall, return_index=True)
    keep = np.unique(np.linspace(0, len(first) - 1, CURVE_POINTS).round().astype(int))
    points = zip(recall[first[keep]], precision[first[keep]], strict=True)
    return [[round(float(r), 4), round(float(p), 4)] for r, p in points]


class _Bootstrap:
    """Values with percentiles over resampled images: of labels, and of means over labels."""

    def __init__(self, scores: np.ndarray, labels: np.ndarray, predicted: np.ndarray) -> None:
        n, k = labels.shape
        weights = bootstrap.weights(n, bootstrap.resamples(n, k))  # (samples + 1, n)
        hits = (predicted & (labels == 1)).astype(np.float32)
        totals = predicted.astype(np.float32) + labels.astype(np.float32)  # 2 tp + fp + fn
        true, both = ((weights @ array).astype(np.float64) for array in (hits, totals))
        with np.errstate(invalid="ignore", divide="ignore"):
            f1 = 2 * true / both  # NaN for a label that is neither there nor predicted
            micro = 2 * true.sum(1) / both.sum(1)
        f1[:, labels.sum(0) == 0] = np.nan
        precision = np.stack(
            [_weighted(s, y, weights) for s, y in zip(scores.T, labels.T, strict=True)], 1
        )
        self.average_precision = [percentiles(column) for column in precision.T]
        self.f1 = [percentiles(column) for column in f1.T]
        self.map, self.macro_f1 = percentiles(_mean(precision)), percentiles(_mean(f1))
        self.micro_f1 = percentiles(micro)


def _weighted(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The average precision for each row of weights (r, n); NaN without a positive."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    out = np.empty(len(weights))
    positive = labels[order] == 1
    for i, row in enumerate(weights):
        w = row[order]
        hits, seen = np.cumsum(w * positive)[last], np.cumsum(w)[last]
        total = hits[-1]
        steps = np.diff(hits, prepend=0.0)
        out[i] = np.sum(steps * hits / np.maximum(seen, 1)) / total if total else np.nan
    return out


def _mean(values: np.ndarray) -> np.ndarray:
    """The mean over the labels (axis 1) that are defined; NaN if none is."""
    defined = np.isfinite(values)
    sums = np.where(defined, values, 0).sum(1)
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / np.where(defined.any(1), defined.sum(1), np.nan))


def _per_label(
    predicted: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    thresholds: Sequence[float],
    samples: _Bootstrap,
) -> list[dict[str, Any]]:
    rows = []
    for i, name in enumerate(classes):
        support, positive = int(labels[:, i].sum()), int(predicted[:, i].sum())
        hits = int((predicted[:, i] & (labels[:, i] == 1)).sum())
        rows.append(
            {
                "class": str(name),
                "n": support,
                "predicted": positive,
                "threshold": float(thresholds[i]),
                "average_precision": samples.average_precision[i],
                "precision": _rate(hits, positive),
                "recall": _rate(hits, support),
                "f1": samples.f1[i],
            }
        )
    return rows


def _rate(hits: int, n: int) -> dict[str, float | None]:
    low, high = wilson(hits, n)
    return {"value": hits / n if n else None, "low": low, "high": high}
