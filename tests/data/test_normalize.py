from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from reslab.core.errors import UserError
from reslab.data import ArraySplit, batches, normalization
from reslab.data.normalize import stored

RNG = np.random.default_rng(1)
IMAGES = (RNG.normal(120, 30, (5000, 6, 5, 3)) + np.array([0, 40, -40])).clip(0, 255)
SPLIT = ArraySplit.of(IMAGES.astype(np.uint8), np.zeros(5000))


@pytest.mark.parametrize(
    ("kind", "mean_axes", "std_axes"),
    [
        ("pixel-mean", (0,), (0, 1, 2, 3)),
        ("pixel", (0,), (0, 1, 2)),
        ("channel", (0, 1, 2), (0, 1, 2)),
    ],
)
def test_against_numpy(kind, mean_axes, std_axes):
    x = SPLIT.array.astype(np.float64)
    mean = x.mean(mean_axes, keepdims=True)
    std = np.sqrt(((x - mean) ** 2).mean(std_axes, keepdims=True))
    made = normalization(SPLIT, kind)
    np.testing.assert_allclose(made.mean, mean[0], rtol=1e-6)
    np.testing.assert_allclose(made.std, std[0], rtol=1e-5)
    assert made.mean.dtype == made.std.dtype == np.float32
    out = made(SPLIT.array)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, (x - mean) / std, atol=1e-5)
    assert abs(out.mean()) < 1e-4
    np.testing.assert_allclose(out.std(), 1, atol=1e-3)


def test_unit():
    made = normalization(SPLIT, "unit")
    np.testing.assert_allclose(made(SPLIT.array), SPLIT.array / 255, rtol=1e-6)


def test_images_all_alike_do_not_divide_by_zero():
    flat = ArraySplit.of(np.full((10, 4, 4, 1), 7, np.uint8), np.zeros(10))
    for kind in ("pixel-mean", "pixel", "channel"):
        assert (normalization(flat, kind)(flat.array) == 0).all()


def test_unknown_kind():
    with pytest.raises(UserError, match="did you mean 'pixel-mean'"):
        normalization(SPLIT, "pixelmean")


def test_batches_are_in_order_and_complete():
    made = normalization(SPLIT, "channel")
    xs, ys = zip(*batches(SPLIT, 768, made), strict=True)
    assert [len(x) for x in xs] == [768] * 6 + [5000 - 6 * 768]
    np.testing.assert_array_equal(np.concatenate(xs), made(SPLIT.array))
    assert np.concatenate(ys).dtype == np.int32


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"mean": np.zeros(3, "f4")},
        {"mean": np.zeros(3, "f4"), "std": np.zeros(3, "f4")},
        {"mean": np.full(3, np.nan, "f4"), "std": np.ones(3, "f4")},
        {"mean": np.zeros((2, 4, 4, 3), "f4"), "std": np.ones(3, "f4")},
        {"mean": np.zeros(2, "f4"), "std": np.ones(3, "f4")},
        {"mean": np.zeros(3, "i4"), "std": np.ones(3, "f4")},
    ],
)
def test_a_mean_and_std_that_do_not_fit_the_images_are_refused(arrays):
    with pytest.raises(UserError, match="no mean and std for images of 4x4x3; restore it"):
        stored(arrays, (4, 4, 3), Path("run/standardise.safetensors"))
    good = {"mean": np.zeros((4, 4, 3), "f4"), "std": np.ones(1, "f4")}
    assert stored(good, [4, 4, 3], Path("x")).mean.shape == (4, 4, 3)
