"""Batches from the device have the bits of those from the host; here the device is the CPU."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import reslab
from reslab.core.files import read_arrays
from reslab.data import ArraySplit, Data, Pipeline, normalization
from reslab.data.augment import Moves
from reslab.runs.recipe import Recipe
from reslab.training import on_device as resident
from reslab.training.feed import source
from reslab.training.on_device import Resident
from tests.helpers import tiny

pytestmark = [
    pytest.mark.core,
    pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="JAX's and PyTorch's alone"),
]
RNG = np.random.default_rng(0)
# not square, the rows not those of the array: what is mixed up shows
SPLIT = ArraySplit.of(
    RNG.integers(0, 256, (90, 9, 7, 3), dtype=np.uint8), RNG.integers(0, 5, 90)
).take(RNG.permutation(90)[:77])


def pipeline(*augment: str, split: ArraySplit = SPLIT) -> Pipeline:
    standard = normalization(split, "pixel-mean")
    return Pipeline(split, batch=16, seed=3, augment=augment, normalise=standard)


@pytest.mark.parametrize(
    "augment",
    [(), ("flip",), ("pad-crop(2)", "flip"), ("flip", "pad-crop(12)"), ("flip",) * 2],
    ids=lambda a: "+".join(a) or "none",
)
@pytest.mark.parametrize("layout", ["channels_last", "channels_first"])
def test_the_bits_of_the_host(augment, layout):
    h, w, c = SPLIT.image_shape
    shape = (None, h, w, c) if layout == "channels_last" else (None, c, h, w)
    host, device = source(pipeline(*augment), shape), Resident(pipeline(*augment), shape).epoch
    for epoch, start in ((0, 0), (2, 3)):
        both = list(zip(host(epoch, start), device(epoch, start), strict=True))
        assert len(both) == 4 - start
        for (x, y), (made, labels) in both:
            assert keras.ops.convert_to_numpy(made).tobytes() == x.tobytes()
            assert (labels == y).all()


def test_moves_of_a_batch_by_hand():
    moves = Moves.none(1, 2, 3)
    assert moves.rows.tolist() == [[0, 1]]
    assert moves.columns.tolist() == [[0, 1, 2]]
    plain = pipeline("pad-crop(1)", "flip")
    assert plain.only_moves
    _, moves, _ = next(plain.moves(0))
    assert set(np.unique(moves.rows)) <= set(range(-1, 9))
    assert (np.diff(np.where(moves.rows < 0, 0, moves.rows)) <= 1).all()


@pytest.mark.parametrize(
    "augment", ["rotate(10)", "erase(0.5)", "pca-colour(0.1)", "area-crop(0.2)"]
)
def test_augmentation_that_changes_pixels_is_done_on_the_host(augment, monkeypatch):
    monkeypatch.setattr(resident, "_accelerator", lambda: True)
    square = ArraySplit.of(RNG.integers(0, 256, (20, 8, 8, 3), dtype=np.uint8), np.zeros(20))
    assert resident.worth(pipeline("flip", split=square))
    assert not resident.worth(pipeline("flip", augment, split=square))
    monkeypatch.setattr(resident, "MOST", 20 * 8 * 8 * 3 - 1)
    assert not resident.worth(pipeline("flip", split=square))


def test_on_a_cpu_the_host_makes_the_batches():
    assert not resident.worth(pipeline("flip"))


def test_a_training_ends_with_the_same_bits_either_way(tmp_path, monkeypatch):
    x, y = tiny.images(64, seed=0)
    split = ArraySplit.of(x, y)
    data = Data("tiny", "tiny", ("a", "b", "c"), split.image_shape, split, None, None, "", {}, {})
    how = Recipe("x", batch=16, epochs=2, augment=("pad-crop(2)", "flip"), validation=0)
    made = []

    def epoch(self, *key):
        made.append(key)
        yield from true(self, *key)

    true = Resident.epoch
    monkeypatch.setattr(Resident, "epoch", epoch)
    ends = []
    for name, on_device in (("host", False), ("device", True)):
        monkeypatch.setattr(resident, "_accelerator", lambda on=on_device: on)
        run = reslab.train(tiny.NETWORK, data, how, out=tmp_path / name)
        ends.append(read_arrays(run.checkpoints / "last.safetensors")[0])
        assert made == ([(0, 0), (1, 0)] if on_device else [])
    assert ends[0].keys() == ends[1].keys()
    assert all((ends[0][name] == ends[1][name]).all() for name in ends[0])
