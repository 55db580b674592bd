from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab.core.errors import UserError
from reslab.core.rng import Stream
from reslab.data import ArraySplit, class_weights, splits


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(2, 60), min_size=2, max_size=8),
    share=st.floats(0.02, 0.7),
    seed=st.integers(0, 99),
)
def test_stratified_splits_cover_every_class_and_add_up(sizes, share, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    names = [f"c{i}" for i in range(len(sizes))]
    count = int(np.clip(round(share * len(labels)), len(sizes), len(labels) - len(sizes)))
    rest, taken = splits.stratified(labels, count, names, (seed, "x"))
    assert len(taken) == count
    assert sorted([*rest, *taken]) == list(range(len(labels)))
    for part in (rest, taken):
        assert set(labels[part]) == set(range(len(sizes)))
    got = np.bincount(labels[taken])
    exact = count * np.array(sizes) / sum(sizes)
    slack = max(1, len(sizes))  # classes of two are pushed to 1 each, others make up for it
    assert np.abs(got - exact).max() <= slack


def test_equal_classes_give_equal_shares():
    labels = np.tile(np.arange(10), 500)
    _, taken = splits.stratified(labels, 500, [str(i) for i in range(10)], (0,))
    assert set(np.bincount(labels[taken])) == {50}


def test_the_same_seed_gives_the_same_split_and_another_another():
    labels = np.tile(np.arange(4), 50)
    names = list("abcd")
    one, again, other = (splits.stratified(labels, 40, names, (s,))[1] for s in (1, 1, 2))
    assert one.tolist() == again.tolist() != other.tolist()


def test_amounts():
    assert splits.amount(0, 100) == 0
    assert splits.amount(0.1, 100) == 10
    assert splits.amount(5000, 50_000) == 5000
    assert splits.amount(0.01, 100, least=7) == 7
    for bad in (-1, 1.5, 100, 1e9, True, "5", float("nan")):
        with pytest.raises(UserError):
            splits.amount(bad, 100)


def test_carving_keeps_images_with_their_labels():
    array = np.arange(40, dtype=np.uint8).reshape(40, 1, 1, 1)
    labels = np.arange(40) // 10
    train, held = splits.split_off(ArraySplit.of(array, labels), 0.25, list("abcd"), 3)
    assert held is not None
    for split in (train, held):
        pixels = split.images(np.arange(len(split))).ravel()
        assert (pixels // 10 == split.labels).all()
    assert len(train) == 30
    assert splits.split_off(train, 0, list("abcd"), 3) == (train, None)
    joined = train.join(held)
    assert sorted(joined.images(np.arange(40)).ravel()) == list(range(40))


def test_too_few_images_name_the_class():
    with pytest.raises(UserError, match="class 'rare' has 1 image, but"):
        splits.stratified(np.array([0, 0, 0, 1]), 2, ["often", "rare"], (0,))
    with pytest.raises(UserError, match="every class in both"):
        splits.stratified(np.array([0, 0, 0, 1, 1]), 1, ["a", "b"], (0,))


def test_class_weights_balance():
    labels = np.array([0] * 8 + [1] * 2 + [2] * 10)
    weights = class_weights(labels, 3)
    assert weights.dtype == np.float32
    totals = [weights[k] * (labels == k).sum() for k in range(3)]
    np.testing.assert_allclose(totals, len(labels) / 3, rtol=1e-6)
    np.testing.assert_allclose(weights[labels].mean(), 1, rtol=1e-6)
    with pytest.raises(UserError):
        class_weights(labels, 4)


def test_streams_are_written_in_stone():
    # Bits that must never change: splits, orders and glyphs of old runs hang on them.
    assert Stream(0, "order", 1).raw(2).tolist() == EXPECTED_RAW
    assert Stream("a").permutation(6).tolist() == EXPECTED_ORDER
    drawn = Stream(5).uniform(1000, -2, 3)
    assert -2 <= drawn.min() < -1.9 < 2.9 < drawn.max() < 3
    assert set(Stream(6).integers(1000, 7)) == set(range(7))
    assert Stream(1, 2).raw(3).tolist() != Stream(12).raw(3).tolist()


EXPECTED_RAW = [7090668857677833275, 16952868447171799082]
EXPECTED_ORDER = [3, 2, 0, 1, 4, 5]
