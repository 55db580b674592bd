from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reslab import data
from reslab.core.errors import UserError
from reslab.data import ArraySplit, Normalization, Pipeline, Split, batches
from tests.helpers import threads

RNG = np.random.default_rng(0)
PLAIN = Normalization(np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32))
ARRAYS = ArraySplit.of(RNG.integers(0, 256, (53, 12, 12, 3), dtype=np.uint8), np.arange(53) % 5)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Split:
    root = tmp_path_factory.mktemp("pictures")
    for name in "ab":
        (root / name).mkdir()
        for i in range(27):
            noise = RNG.integers(0, 256, (20 + i, 24, 3), dtype=np.uint8)
            Image.fromarray(noise).save(root / name / f"{i}.jpg")
    cache: Path = tmp_path_factory.mktemp("cache")
    return data.load(root, size=12, validation=0, test=None, cache=cache).train


AUGMENT = {
    "arrays": ("pad-crop(2)", "flip"),
    "files": ("scale-crop(256,480)", "flip"),
    "keras": ("rotate(10)", "shift(0.1)", "erase(0.5)", "flip"),
    "policy": ("rand-augment(2,9)",),
}


@pytest.fixture(params=["arrays", "files", "keras", "policy"])
def pipeline(request, files) -> Pipeline:
    split = files if request.param == "files" else ARRAYS
    return Pipeline(split, batch=8, seed=3, augment=AUGMENT[request.param], normalise=PLAIN)


def equal(one: list, two: list) -> bool:
    assert len(one) == len(two)
    return all(
        a[0].tobytes() == b[0].tobytes() and (a[1] == b[1]).all()
        for a, b in zip(one, two, strict=True)
    )


def test_a_batch_depends_on_seed_epoch_and_step_alone(pipeline):
    whole = list(pipeline.epoch(4))
    assert len(whole) == pipeline.steps_per_epoch == 6
    x, y = whole[0]
    assert x.shape == (8, 12, 12, 3)
    assert x.dtype == np.float32
    assert y.dtype == np.int32
    assert equal(whole, list(pipeline.epoch(4)))
    for start in (1, 4, 5):
        assert equal(whole[start:], list(pipeline.epoch(4, start)))
    assert list(pipeline.epoch(4, 6)) == []
    assert not equal(whole, list(pipeline.epoch(5)))
    pipeline.seed = 4
    assert not equal(whole, list(pipeline.epoch(4)))


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_nothing(files, workers):
    two, other = (
        Pipeline(files, batch=8, seed=3, augment=["flip"], normalise=PLAIN, workers=w)
        for w in (2, workers)
    )
    assert equal(list(two.epoch(0)), list(other.epoch(0)))


def test_an_epoch_is_a_permutation_with_labels_that_fit():
    numbered = ArraySplit.of(
        np.arange(200, dtype=np.uint8).reshape(200, 1, 1, 1), np.arange(200) % 7
    )
    pipeline = Pipeline(numbered, batch=20, seed=0, normalise=PLAIN)
    seen = []
    for x, y in pipeline.epoch(0):
        assert (x.ravel().astype(int) % 7 == y).all()
        seen += x.ravel().astype(int).tolist()
    assert sorted(seen) == list(range(200))
    assert seen != sorted(seen)


def test_the_incomplete_batch_is_dropped_but_a_small_split_is_one_batch():
    assert Pipeline(ARRAYS, batch=50, seed=0, normalise=PLAIN).steps_per_epoch == 1
    small = Pipeline(ARRAYS, batch=500, seed=0, normalise=PLAIN)
    ((x, _),) = small.epoch(0)
    assert len(x) == 53


def test_views_of_files_are_drawn_anew_each_epoch(files):
    how = ["scale-crop(256,480)"]
    pipeline = Pipeline(files, batch=54, seed=0, augment=how, normalise=PLAIN)
    (one,), (two,) = (list(pipeline.epoch(e)) for e in (0, 1))
    order = [np.argsort(x.reshape(54, -1).mean(1)) for x in (one[0], two[0])]
    assert not (one[0][order[0]] == two[0][order[1]]).all()
    assert sorted(one[1]) == sorted(two[1])


def test_unaugmented_files_are_the_centre_views(files):
    pipeline = Pipeline(files, batch=54, seed=0, normalise=PLAIN)
    ((x, _),) = pipeline.epoch(0)
    views = files.images(np.arange(54)).astype(np.float32)
    assert {v.tobytes() for v in x} == {v.tobytes() for v in views}
    xs, ys = zip(*batches(files, 20, PLAIN), strict=True)
    assert [len(x) for x in xs] == [20, 20, 14]
    assert (np.concatenate(xs) == views).all()
    assert (np.concatenate(ys) == files.labels).all()


@pytest.mark.parametrize("kind", ["arrays", "files"])
def test_stopping_early_ends_the_threads(files, kind):
    split = files if kind == "files" else ARRAYS
    for leave in ("break", "close", "error"):
        iterator = Pipeline(split, batch=4, seed=0, normalise=PLAIN).epoch(0)
        next(iterator)
        if leave == "close":
            iterator.close()
        elif leave == "error":
            with pytest.raises(KeyboardInterrupt):
                iterator.throw(KeyboardInterrupt())
        del iterator
        assert threads.running_workers() == []
    for _ in batches(split, 4, PLAIN):
        break
    assert threads.running_workers() == []


class Held(ArraySplit):
    """The second batch comes when it may."""

    asked, may = threading.Event(), threading.Event()

    def images(self, indices):
        if np.arange(len(self))[indices][0] > 0:
            self.asked.set()
            assert self.may.wait(60)
        return super().images(indices)


def test_who_leaves_does_not_wait_for_the_thread():
    """The garbage collector leaves for who forgot, perhaps under a lock that the thread needs."""
    iterator = batches(Held(ARRAYS.array, ARRAYS.labels, ARRAYS.positions), 4, PLAIN)
    next(iterator)
    assert Held.asked.wait(60)
    leaving = threading.Thread(target=iterator.close)
    leaving.start()
    leaving.join(5)
    waits = leaving.is_alive()
    Held.may.set()
    leaving.join()
    assert not waits
    assert threads.running_workers() == []


class Broken(ArraySplit):
    def images(self, indices):
        if 17 in np.arange(len(self))[indices]:
            raise OSError("the disk is on fire")
        return super().images(indices)


def test_errors_are_raised_where_the_batches_are_used():
    broken = Broken(ARRAYS.array, ARRAYS.labels, ARRAYS.positions)
    with pytest.raises(OSError, match="on fire"):
        list(Pipeline(broken, batch=5, seed=0, normalise=PLAIN).epoch(0))
    iterator = batches(broken, 5, PLAIN)
    for _ in range(3):  # those before the bad one are not lost
        next(iterator)
    with pytest.raises(OSError, match="on fire"):
        next(iterator)
    assert threads.running_workers() == []


def test_a_damaged_file_in_training_is_named(files, tmp_path):
    root = tmp_path / "x"
    for name in "ab":
        (root / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (9, 9)).save(root / name / f"{i}.png")
    split = data.load(root, size=8, validation=0, test=None).train
    (root / "b" / "3.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"b/3\.png changed since"):
        list(Pipeline(split, batch=4, seed=0, normalise=PLAIN).epoch(0))


def test_padding_comes_after_normalisation():
    white = ArraySplit.of(np.full((64, 8, 8, 1), 255, np.uint8), np.zeros(64))
    black = Normalization(np.full((1, 1, 1), 55, np.float32), np.full((1, 1, 1), 100, np.float32))
    pipeline = Pipeline(white, batch=64, seed=0, augment=["pad-crop(3)"], normalise=black)
    ((x, _),) = pipeline.epoch(0)
    assert set(np.unique(x)) == {0, 2}  # zeros of the network's input, not of the image


def test_views_of_arrays_must_be_square():
    wide = ArraySplit.of(np.zeros((9, 8, 12, 1), np.uint8), np.zeros(9))
    with pytest.raises(UserError, match="these are 8x12: set size"):
        Pipeline(wide, batch=3, seed=0, augment=["area-crop(0.1)"], normalise=PLAIN)
    square = ArraySplit.of(RNG.integers(0, 256, (9, 12, 12, 1), dtype=np.uint8), np.zeros(9))
    ((x, _),) = Pipeline(
        square, batch=9, seed=0, augment=["area-crop(0.1)"], normalise=PLAIN
    ).epoch(0)
    assert x.shape == (9, 12, 12, 1)
