from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab.core.errors import UserError
from reslab.evaluation.multilabel_metrics import (
    average_precision,
    best_thresholds,
    mean_average_precision,
    multilabel_metrics,
)


def by_definition(scores: np.ndarray, labels: np.ndarray) -> float:
    """The sum over distinct thresholds, from high to low, of precision times the gain of recall."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        chosen = scores >= threshold
        precision = labels[chosen].mean()
        recall = labels[chosen].sum() / labels.sum()
        total, before = total + precision * (recall - before), recall
    return total


@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=40))
@settings(deadline=None)
def test_average_precision_with_ties(rows):
    scores, labels = np.array(rows, float).T
    value = average_precision(scores / 6, labels.astype(int))
    if labels.any():
        assert value == pytest.approx(by_definition(scores, labels))
    else:
        assert value is None


def test_a_label_without_a_positive_is_no_part_of_the_mean():
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    scores = np.array([[0.9, 0.8], [0.1, 0.1], [0.7, 0.3]])
    assert mean_average_precision(scores, labels) == 1
    assert mean_average_precision(scores[:, 1:], labels[:, 1:]) is None
    result = multilabel_metrics(scores, labels, ("a", "b"), [0.5, 0.5])
    assert result["macro_f1"]["value"] == 1
    assert result["absent"] == ["b"]
    assert result["per_label"][1]["average_precision"]["value"] is None
    assert result["per_label"][1]["recall"]["value"] is None
    assert result["without_label"] == 1
    assert result["curves"][1] == []


def test_numbers_of_an_example():
    labels = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    scores = np.array([[0.9, 0.2], [0.8, 0.1], [0.6, 0.9], [0.1, 0.3]])
    result = multilabel_metrics(scores, labels, ("a", "b"), [0.5, 0.25])
    first, second = result["per_label"]
    assert (first["precision"]["value"], first["recall"]["value"]) == (2 / 3, 1.0)
    assert (second["precision"]["value"], second["recall"]["value"]) == (0.5, 0.5)
    assert result["micro_f1"]["value"] == pytest.approx(2 * 3 / (2 * 3 + 2 + 1))
    assert result["exact_match"]["value"] == 0.25
    assert result["label_error"] == pytest.approx(3 / 8)
    assert result["cooccurrence"] == [[2, 1], [1, 2]]
    assert result["without_prediction"] == 0


def test_intervals_hold_the_value_and_narrow_with_more_images():
    rng = np.random.default_rng(1)
    widths = []
    for n in (100, 2500):
        labels = rng.integers(0, 2, (n, 3))
        scores = np.clip(labels * 0.3 + rng.random((n, 3)) * 0.7, 0, 1)
        result = multilabel_metrics(scores, labels, "abc", [0.5] * 3)
        for name in ("mean_average_precision", "micro_f1", "macro_f1", "exact_match"):
            entry = result[name]
            assert 0 <= entry["low"] <= entry["value"] <= entry["high"] <= 1
        widths.append(result["macro_f1"]["high"] - result["macro_f1"]["low"])
    assert widths[1] == pytest.approx(widths[0] / 5, rel=0.35)


def test_thresholds_have_the_highest_f1():
    rng = np.random.default_rng(2)
    labels = (rng.random((200, 2)) < (0.3, 0.6)).astype(int)
    scores = np.clip(0.2 * labels + rng.random((200, 2)) * 0.4, 0, 1)
    thresholds, chosen = best_thresholds(scores, labels)
    assert chosen == [0, 1]
    for k in range(2):

        def f1(threshold: float, k: int = k) -> float:
            predicted = scores[:, k] >= threshold
            return (
                2 * (predicted & (labels[:, k] == 1)).sum() / (predicted.sum() + labels[:, k].sum())
            )

        assert f1(thresholds[k]) == pytest.approx(max(map(f1, scores[:, k])))


def test_rare_labels_keep_the_usual_threshold():
    labels = np.zeros((50, 2), int)
    labels[:4, 0], labels[:46, 1] = 1, 1
    thresholds, chosen = best_thresholds(np.random.default_rng(0).random((50, 2)), labels)
    assert (thresholds, chosen) == ([0.5, 0.5], [])


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.zeros((0, 2)), "no images"),
        (np.full((3, 2), np.nan), "NaN or infinity for 3 of 3 images"),
        (np.full((3, 2), -2.0), "apply a sigmoid"),
        (np.full((3, 3), 0.5), "do not belong together"),
    ],
)
def test_numbers_that_are_refused(scores, message):
    labels = np.zeros((len(scores), 2), int)
    with pytest.raises(UserError, match=message):
        multilabel_metrics(scores, labels, "ab", [0.5, 0.5])
