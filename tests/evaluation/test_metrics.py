"""Metrics against calculations by hand, and properties of random input."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab.core.errors import UserError
from reslab.evaluation.metrics import Z95, classification_metrics, sample_mistakes, wilson

# ------------------------------------------------------------------------------------ by hand


def test_wilson_matches_published_values():
    # The first four are method 3 in Table I of Newcombe 1998.
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_three_classes_by_hand():
    probabilities = np.array(
        [
            [0.7, 0.2, 0.1],  # a, right
            [0.2, 0.7, 0.1],  # a, predicted as b
            [0.1, 0.8, 0.1],  # b, right
            [0.5, 0.5, 0.0],  # b, tied with a: wrong
        ]
    )
    metrics = classification_metrics(probabilities, np.array([0, 0, 1, 1]), ["a", "b", "c"])
    assert metrics["n"] == 4
    assert metrics["accuracy"] == 0.5
    assert metrics["top1_error"]["value"] == 0.5
    assert metrics["top5_error"] is None
    assert metrics["balanced_accuracy"] == 0.5
    assert metrics["loss"] == pytest.approx(-math.log(0.7 * 0.2 * 0.8 * 0.5) / 4)
    assert metrics["classes"] == ["a", "b", "c"]
    assert metrics["confusion"] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert metrics["confused"] == [
        {"true": "a", "predicted": "b", "count": 1, "of": 2},
        {"true": "b", "predicted": "a", "count": 1, "of": 2},
    ]
    assert metrics["per_class"][2] == {"class": "c", "n": 0, "error": None, "low": 0.0, "high": 1.0}
    assert metrics["per_class"][0]["error"] == 0.5


def test_balanced_accuracy_does_not_depend_on_class_sizes():
    probabilities = np.array([[0.9, 0.1]] * 9 + [[0.9, 0.1]])
    metrics = classification_metrics(probabilities, np.array([0] * 9 + [1]), ["many", "few"])
    assert metrics["accuracy"] == 0.9
    assert metrics["balanced_accuracy"] == 0.5


def test_calibration_by_hand():
    # Two images at 0.9 (bin 14 of 15), one of them right; two at 0.6 (its upper edge), both right.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    metrics = classification_metrics(probabilities, np.array([0, 1, 0, 0]), ["a", "b"])[
        "calibration"
    ]
    assert metrics["ece"] == pytest.approx((2 * abs(0.9 - 0.5) + 2 * abs(0.6 - 1.0)) / 4)
    filled = [b for b in metrics["bins"] if b["n"]]
    assert [(b["n"], b["accuracy"]) for b in filled] == [(2, 1.0), (2, 0.5)]
    assert [b["confidence"] for b in filled] == pytest.approx([0.6, 0.9])
    assert (filled[0]["low"], filled[0]["high"]) == pytest.approx((8 / 15, 9 / 15))
    assert len(metrics["bins"]) == 15
    assert metrics["bins"][0] == {
        "low": 0.0,
        "high": pytest.approx(1 / 15),
        "n": 0,
        "confidence": None,
        "accuracy": None,
    }


def test_top5_counts_ties_as_errors():
    sixth = [0.3, 0.2, 0.15, 0.15, 0.1, 0.1]  # the last is sixth: it ties with the fifth
    metrics = classification_metrics(np.array([sixth, sixth]), np.array([5, 3]), list("abcdef"))
    assert metrics["top5_error"]["value"] == 0.5
    same = np.full((3, 10), 0.1)
    metrics = classification_metrics(same, np.array([0, 1, 2]), list("abcdefghij"))
    assert metrics["top1_error"]["value"] == metrics["top5_error"]["value"] == 1.0


def test_a_probability_of_zero_has_a_finite_loss():
    metrics = classification_metrics(np.array([[1.0, 0.0]]), np.array([1]), ["a", "b"])
    assert metrics["loss"] == pytest.approx(-math.log(1e-7))


def test_confused_pairs_come_most_first_and_larger_share_first():
    labels = np.array([0] * 4 + [1] * 2 + [2] * 3)
    predicted = np.array([1, 1, 2, 0, 0, 1, 1, 1, 2])
    metrics = classification_metrics(np.eye(3)[predicted], labels, ["a", "b", "c"])["confused"]
    pairs = [(p["true"], p["predicted"], p["count"], p["of"]) for p in metrics]
    assert pairs == [("c", "b", 2, 3), ("a", "b", 2, 4), ("b", "a", 1, 2), ("a", "c", 1, 4)]


def test_mistakes_are_sampled_from_all_pairs_most_confident_first():
    sure = [0.9, 0.8, 0.95, 0.7, 0.85, 0.6]  # class 0 predicted as 1
    rows = [[1 - p, p, 0.0] for p in sure] + [[0.0, 0.4, 0.6], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    labels = np.array([0] * 6 + [1, 1, 0])
    probabilities = np.array(rows)
    assert sample_mistakes(probabilities, labels, 99).tolist() == [2, 0, 4, 1, 7, 6, 3, 5]
    assert sample_mistakes(probabilities, labels, 5).tolist() == [2, 0, 4, 1, 7]
    assert sample_mistakes(probabilities, labels, 0).size == 0
    assert sample_mistakes(np.eye(3), np.arange(3), 5).size == 0


# ---------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("probabilities", "labels", "classes", "expected"),
    [
        (np.zeros((0, 2)), np.zeros(0, int), "ab", "no image"),
        (np.array([[np.nan, 1.0]]), np.array([0]), "ab", "NaN"),
        (np.array([[np.inf, 0.0]]), np.array([0]), "ab", "infinity"),
        (np.array([[3.0, -2.0]]), np.array([0]), "ab", "softmax"),
        (np.array([[0.2, 0.2]]), np.array([0]), "ab", "softmax"),
        (np.array([[0.5, 0.5]]), np.array([2]), "ab", "0..1"),
        (np.array([[0.5, 0.5]]), np.array([-1]), "ab", "0..1"),
        (np.array([[0.5, 0.5]]), np.array([0.0]), "ab", "whole numbers"),
        (np.array([[0.5, 0.5]]), np.array([0]), "abc", "2 classes"),
        (np.array([[0.5, 0.5]]), np.array([0, 1]), "ab", "belong together"),
        (np.array([0.5, 0.5]), np.array([0]), "ab", "belong together"),
    ],
)
def test_input_that_cannot_be_evaluated_is_refused(probabilities, labels, classes, expected):
    with pytest.raises(UserError, match=expected) as caught:
        classification_metrics(probabilities, labels, list(classes))
    assert "\n" not in str(caught.value)


# --------------------------------------------------------------------------------- properties


@st.composite
def evaluated(draw):
    """Draw (probabilities, labels, classes), with ties and with classes without images."""
    k, n = draw(st.integers(1, 9)), draw(st.integers(1, 40))
    seed, levels = draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from([2, 4, 1000]))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, levels + 1, (n, k)).astype(np.float64)
    probabilities = (scores / scores.sum(axis=1, keepdims=True)).astype(dtype)
    return probabilities, rng.integers(0, k, n), [f"class {i}" for i in range(k)]


@given(evaluated())
def test_properties_of_every_evaluation(case):
    probabilities, labels, classes = case
    metrics = classification_metrics(probabilities, labels, classes)
    n, confusion = len(labels), np.array(metrics["confusion"])
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics
    assert confusion.sum() == metrics["n"] == n
    assert confusion.trace() / n == metrics["accuracy"]
    assert metrics["accuracy"] + metrics["top1_error"]["value"] == pytest.approx(1)
    assert confusion.sum(axis=1).tolist() == [row["n"] for row in metrics["per_class"]]
    if metrics["top5_error"] is not None:
        assert metrics["top5_error"]["value"] <= metrics["top1_error"]["value"]
    for row in [metrics["top1_error"], *metrics["per_class"]]:
        value = row.get("value", row.get("error"))
        assert 0 <= row["low"] <= row["high"] <= 1
        assert value is None or row["low"] <= value <= row["high"]
    assert sum(b["n"] for b in metrics["calibration"]["bins"]) == n
    assert 0 <= metrics["calibration"]["ece"] <= 1
    assert sum(p["count"] for p in metrics["confused"]) <= n - confusion.trace()


@given(evaluated(), st.integers(0, 2**32 - 1))
def test_the_order_of_images_does_not_matter(case, seed):
    probabilities, labels, classes = case
    order = np.random.default_rng(seed).permutation(len(labels))
    one, other = (
        classification_metrics(probabilities, labels, classes),
        classification_metrics(probabilities[order], labels[order], classes),
    )
    assert one["loss"] == pytest.approx(other["loss"])
    assert one["calibration"]["ece"] == pytest.approx(other["calibration"]["ece"])
    for key in ("top1_error", "top5_error", "confused", "per_class"):
        assert one[key] == other[key]


@given(evaluated(), st.integers(0, 60))
def test_each_mistake_is_sampled_once(case, limit):
    probabilities, labels, classes = case
    indices = sample_mistakes(probabilities, labels, limit)
    count = round(
        classification_metrics(probabilities, labels, classes)["top1_error"]["value"] * len(labels)
    )
    assert len(indices) == len(set(indices.tolist())) == min(limit, count)
    true_class = probabilities[indices, labels[indices]]
    others = probabilities[indices].copy()
    others[np.arange(len(indices)), labels[indices]] = -1
    assert (others.max(axis=1, initial=-1) >= true_class).all()


@settings(max_examples=200)
@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_are_where_the_score_test_just_rejects(case):
    hits, n = case
    for bound in wilson(hits, n):
        if 0 < bound < 1:
            score = abs(hits / n - bound) / math.sqrt(bound * (1 - bound) / n)
            assert score == pytest.approx(Z95, rel=1e-6)
    low, high = wilson(hits, n)
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)
