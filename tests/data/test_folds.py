"""K-fold: every image validates once; classes are even; what belongs together stays together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reslab import data as sets
from reslab.core.errors import UserError
from reslab.data import ArraySplit
from reslab.data.folds import assign, fold
from tests.helpers import tiny


def split_of(labels: np.ndarray, repeated: int = 0) -> ArraySplit:
    """Distinct images; the first `repeated` of them are equal."""
    images = np.arange(len(labels), dtype=np.uint32).view(np.uint8).reshape(-1, 2, 2, 1).copy()
    images[:repeated] = 255
    return ArraySplit.of(images, labels)


@given(
    sizes=st.lists(st.integers(5, 30), min_size=2, max_size=4),
    folds=st.integers(2, 5),
    seed=st.integers(0, 9),
)
def test_classes_are_as_even_as_possible(sizes: list[int], folds: int, seed: int) -> None:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    classes = [f"c{i}" for i in range(len(sizes))]
    places = assign(split_of(labels), classes, folds, seed)
    for label in range(len(sizes)):
        each = np.bincount(places[labels == label], minlength=folds)
        assert each.max() - each.min() <= 1
    order = np.random.default_rng(seed).permutation(len(labels))
    again = assign(split_of(labels).take(order), classes, folds, seed)
    np.testing.assert_array_equal(again, places[order])  # the order of the images does not matter


def test_several_labels_are_spread_evenly() -> None:
    labels = np.random.default_rng(0).integers(0, 2, (90, 4))
    places = assign(split_of(np.zeros(90, int)).take(np.arange(90)), ["a"], 3, 0)
    assert np.ptp(np.bincount(places)) <= 1
    split = ArraySplit(split_of(np.zeros(90, int)).array, labels, np.arange(90))
    places = assign(split, list("abcd"), 3, 0)
    for label in range(4):
        assert np.ptp(np.bincount(places[labels[:, label] == 1], minlength=3)) <= 4


def test_equal_images_come_into_one_fold() -> None:
    labels = np.arange(60) % 3
    places = assign(split_of(labels, repeated=12), ["a", "b", "c"], 4, 0)
    assert len(set(places[:12])) == 1
    assert np.ptp(np.bincount(places)) <= 3


def test_the_folds_divide_training_and_validation_images(tmp_path: Path) -> None:
    data = sets.load(tiny.folder(tmp_path / "d"), validation=30)
    assert data.validation is not None
    parts = [fold(data, k, 3) for k in (1, 2, 3)]
    everything = np.sort(np.concatenate([data.train.digests, data.validation.digests]))
    validated = [part.validation.digests for part in parts if part.validation is not None]
    np.testing.assert_array_equal(np.sort(np.concatenate(validated)), everything)
    for part in parts:
        assert part.validation is not None
        assert part.test is None
        assert not np.isin(part.train.digests, part.validation.digests).any()
        assert len(part.train) + len(part.validation) == len(everything)
        again = sets.from_provenance(part.provenance)
        np.testing.assert_array_equal(again.train.digests, part.train.digests)
        assert again.checksum == data.checksum
    assert parts[0].facts["validation"] == "fold 1 of 3, 64 images"


@pytest.mark.parametrize(("folds", "message"), [(1, "give 2 or more"), (65, "give fewer folds")])
def test_impossible_numbers_of_folds(tmp_path: Path, folds: int, message: str) -> None:
    data = sets.load(tiny.folder(tmp_path / "d"))
    with pytest.raises(UserError, match=message):
        fold(data, 1, folds)
