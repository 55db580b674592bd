from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from reslab import data
from reslab.core import files
from reslab.core.errors import UserError
from reslab.data.sources import download, idx
from reslab.spec import catalogue

RNG = np.random.default_rng(0)


@pytest.fixture
def tiny(tmp_path, idx_folder) -> Path:
    parts = {
        part: (RNG.integers(0, 256, (n, 10, 14), dtype=np.uint8), np.arange(n) % 4)
        for part, n in (("train", 80), ("t10k", 20))
    }
    return idx_folder(tmp_path / "tiny", parts)


def test_sources_are_listed():
    names = dict(catalogue.sources())
    assert {"glyphs", "mnist", "fashion-mnist", "emnist-byclass", "cifar10", "cifar100"} < set(
        names
    )
    assert all(text and "\n" not in text for text in names.values())


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("fashion-mnits", "did you mean 'fashion-mnist'"),
        ("cifar-10", "did you mean 'cifar10'"),
        ("./nowhere", "there is no folder .*nowhere"),
        ("/nowhere/at/all", "there is no folder /nowhere/at/all"),
    ],
)
def test_unknown_sources(source, says):
    with pytest.raises(UserError, match=says):
        data.load(source)


@pytest.mark.parametrize(
    "options",
    [
        {"channels": 2},
        {"size": 0},
        {"size": 10**6},
        {"validation": 2.5},
        {"validation": -0.1},
        {"validation": 10**9},
    ],
)
def test_options_that_make_no_sense(tiny, options):
    with pytest.raises(UserError):
        data.load(tiny, **options)


def test_sizes_and_channels(tiny):
    assert data.load(tiny).image_shape == (10, 14, 1)
    assert data.load(tiny, channels=3).image_shape == (10, 14, 3)
    assert data.load(tiny, size=12).image_shape == (12, 12, 1)
    colour = data.load(tiny, size=10, channels=3)
    assert colour.image_shape == (10, 10, 3)
    raw = data.load(tiny).test.images(np.arange(20))
    assert (colour.test.images(np.arange(20)) == raw[:, :, 2:12]).all()


def test_everything_about_it_is_json_and_loads_it_again(tiny):
    loaded = data.load(tiny, size=12, channels=3, validation=8, seed=5)
    stored = json.loads(json.dumps({"facts": loaded.facts, "provenance": loaded.provenance}))
    again = data.load(**stored["provenance"])
    assert again.facts == stored["facts"]
    assert again.checksum == loaded.checksum
    for part in ("train", "validation", "test"):
        one, two = getattr(loaded, part), getattr(again, part)
        assert (one.labels == two.labels).all()
        assert (one.images(np.arange(len(one))) == two.images(np.arange(len(two)))).all()


def test_a_sample_is_stratified_and_can_be_loaded_again(tiny):
    whole = data.load(tiny, validation=0)
    small = data.sample(whole, 20)
    assert np.bincount(small.train.labels).tolist() == [5, 5, 5, 5]
    assert len(small.test) == len(whole.test)
    assert small.checksum == whole.checksum  # it is of what was read
    assert sum(small.facts["counts"]["train"].values()) == 20
    again = data.load(**json.loads(json.dumps(small.provenance)))
    positions = np.arange(20)
    np.testing.assert_array_equal(again.train.images(positions), small.train.images(positions))
    assert data.sample(whole, 80) is whole
    for n in (0, 3, 81):
        with pytest.raises(UserError):
            data.sample(whole, n)


def test_the_checksum_sees_the_content_and_not_the_options(tiny):
    one = data.load(tiny)
    assert data.load(tiny, size=8, validation=0, seed=9).checksum == one.checksum
    path = tiny / "t10k-labels-idx1-ubyte.gz"
    labels = idx.read_path(path, 1).copy()
    labels[:2] = labels[1::-1]
    (tiny / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x14" + labels.tobytes())
    path.unlink()
    assert data.load(tiny).checksum != one.checksum


def test_parts_are_disjoint_and_test_is_never_carved(tiny):
    loaded = data.load(tiny, validation=20)
    rows = np.concatenate([loaded.train.positions, loaded.validation.positions])
    assert sorted(rows) == list(range(80))
    assert len(loaded.test) == 20
    for part in (loaded.train, loaded.validation, loaded.test):
        assert set(part.labels) == set(range(4))
    assert (data.load(tiny, validation=20, seed=1).train.positions != loaded.train.positions).any()


def test_a_cwd_relative_path_is_made_absolute(tiny, monkeypatch):
    monkeypatch.chdir(tiny.parent)
    assert data.load("tiny").source == str(tiny)


def test_search_order(tmp_path, monkeypatch):
    monkeypatch.setenv("RESLAB_DATA", str(tmp_path / "own"))
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
    assert list(download.folders("x", None)) == [
        tmp_path / "own" / "x",
        tmp_path / "cache" / "x",
        Path("/usr/share/datasets/x"),
    ]
    assert next(iter(download.folders("x", tmp_path))) == tmp_path / "own" / "x"
    assert download.cache_dir(tmp_path / "arg") == tmp_path / "arg"
    monkeypatch.delenv("RESLAB_CACHE")
    assert download.cache_dir().name == "reslab"


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path):
    target = tmp_path / "deep" / "x"
    files.write_cache(target, lambda temp: temp.write_bytes(b"one"))

    def full(temp: Path) -> None:
        temp.write_bytes(b"tw")
        raise OSError(28, "No space left on device")

    files.write_cache(target, full)
    assert target.read_bytes() == b"one"
    assert [p.name for p in target.parent.iterdir()] == ["x"]


def test_nothing_is_unpickled():
    """No module of the package can: pickle is not imported, and numpy is told not to."""
    for path in Path(data.__file__).parent.glob("*.py"):
        source = path.read_text()
        assert "import pickle" not in source
        assert source.count("np.load(") == source.count("allow_pickle=False")
