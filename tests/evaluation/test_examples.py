"""The most typical and the most doubtful images of each class."""

from __future__ import annotations

import numpy as np

from reslab.data import ArraySplit
from reslab.evaluation import examples

CLASSES = ["a", "b"]


def split_of(labels: list[int] | np.ndarray) -> ArraySplit:
    images = np.arange(len(labels), dtype=np.uint8)[:, None, None, None]
    return ArraySplit.of(np.broadcast_to(images, (len(labels), 4, 4, 1)), np.asarray(labels))


def test_typical_images_are_near_the_mean_and_doubtful_ones_have_small_margins() -> None:
    labels = [0, 1] * 4
    first = np.array([0.9, 0.2, 0.55, 0.51, 0.8, 0.1, 0.49, 0.05])  # the probability of a
    features = np.array([[0.0], [5.0], [1.0], [7.0], [10.0], [6.0], [2.0], [60.0]])
    result = examples.examples(
        split_of(labels), CLASSES, np.stack([first, 1 - first], 1), np.arange(8), features
    )
    a, b = result["classes"]
    assert [row["index"] for row in a["typical"]] == [6, 2]  # the mean of 0, 1, 10 and 2 is 3.25
    assert [row["index"] for row in a["doubtful"]] == [6, 2]
    assert [row["index"] for row in b["typical"]] == [3, 5]
    assert [row["index"] for row in b["doubtful"]] == [3, 1]
    row = b["doubtful"][0]
    assert (row["true"], row["predicted"], row["second"]) == ("b", "a", "b")
    assert np.isclose(row["margin"], 0.02)
    assert (result["images"], result["of"]) == (8, 8)


def test_typical_images_are_among_those_whose_features_are_known() -> None:
    labels = [0] * 10 + [1] * 10
    probabilities = np.full((20, 2), 0.5)
    positions = np.array([1, 3, 5, 12])
    result = examples.examples(
        split_of(labels), CLASSES, probabilities, positions, np.zeros((4, 3))
    )
    typical = [[row["index"] for row in each["typical"]] for each in result["classes"]]
    assert typical == [[1, 3, 5], [12]]


def test_many_classes_have_few_pictures_and_the_worst_ones_are_shown() -> None:
    k, each = 200, 6
    labels = np.repeat(np.arange(k), each)
    probabilities = np.eye(k)[labels]
    wrong = (labels % 10 == 3) & (np.arange(k * each) % each < 2)
    probabilities[wrong] = np.roll(probabilities[wrong], 1, axis=1)
    result = examples.examples(
        split_of(labels),
        [f"class {c}" for c in range(k)],
        probabilities,
        np.arange(k * each),
        np.zeros((k * each, 1)),
    )
    names = [row["class"] for row in result["classes"]]
    assert {f"class {c}" for c in range(3, k, 10)} <= set(names)
    assert names == sorted(names, key=lambda name: int(name.split()[1]))
    pictures = sum(len(row["typical"]) + len(row["doubtful"]) for row in result["classes"])
    assert pictures <= examples.MOST_PICTURES


def test_a_class_without_images_is_left_out_and_one_image_is_enough() -> None:
    result = examples.examples(
        split_of([1]), CLASSES, np.array([[0.3, 0.7]]), np.arange(1), np.ones((1, 2))
    )
    (only,) = result["classes"]
    assert only["class"] == "b"
    assert [row["index"] for row in only["typical"] + only["doubtful"]] == [0, 0]
