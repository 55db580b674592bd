from __future__ import annotations

import gzip
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reslab import data
from reslab.core.errors import UserError
from reslab.data.sources import download, idx

RNG = np.random.default_rng(0)


def part(n: int, classes: int = 3, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    images = RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8)
    return images, (np.arange(n) % classes + first).astype(np.uint8)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_folder_of_idx_files(tmp_path, idx_folder, zipped):
    train, test = part(30), part(9)
    folder = idx_folder(tmp_path / "mine", {"train": train, "t10k": test}, zipped=zipped)
    loaded = data.load(folder, validation=6)
    assert loaded.name == "mine"
    assert loaded.classes == ("0", "1", "2")
    assert loaded.image_shape == (28, 28, 1)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (24, 6, 9)
    np.testing.assert_array_equal(loaded.test.images(np.arange(9))[..., 0], test[0])
    np.testing.assert_array_equal(loaded.test.labels, test[1])
    assert loaded.test.labels.dtype == np.int32


def test_colour_idx_files_and_a_validation_part_of_their_own(tmp_path, idx_folder):
    colour = RNG.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    parts = dict.fromkeys(("train", "validation", "test"), (colour, labels))
    folder = idx_folder(tmp_path / "c", parts)
    loaded = data.load(folder)
    assert loaded.image_shape == (8, 8, 3)
    assert len(loaded.validation) == 6
    assert len(data.load(folder, validation=0).train) == 12  # joined, since none was wanted


def test_emnist_is_turned_upright(tmp_path, idx_folder):
    # An L as one reads it: a bar on the left, a foot at the bottom right.
    letter = np.zeros((28, 28), np.uint8)
    letter[4:24, 6] = letter[23, 6:18] = 255
    stored = letter.T  # as NIST's files have it: rows and columns swapped
    images = np.stack([stored, np.zeros_like(stored)] * 4)
    labels = np.array([12, 2] * 4)  # letters count from 1
    folder = idx_folder(
        tmp_path / "e", {"train": (images, labels), "test": (images, labels)}, "emnist-letters-"
    )
    known = idx.load_folder(folder)
    np.testing.assert_array_equal(known.train.images(np.array([0]))[0, ..., 0], letter)
    assert known.classes[known.train.labels[0]] == "L"
    assert known.classes[known.train.labels[1]] == "B"


def test_a_known_set_comes_from_nists_zip(tmp_path, idx_bytes, monkeypatch):
    known = replace(idx.SETS["emnist-letters"], train=52, test=26)
    monkeypatch.setitem(idx.SETS, "emnist-letters", known)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for where, n in (("train", 52), ("test", 26)):
            images, labels = part(n, 26, first=1)
            for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
                name = f"gzip/emnist-letters-{where}-{kind}-ubyte.gz"
                archive.writestr(name, gzip.compress(idx_bytes(array)))
    path = tmp_path / "emnist" / "gzip.zip"
    path.parent.mkdir()
    path.write_bytes(content.getvalue())
    monkeypatch.setenv("RESLAB_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"gzip\.zip has sha256 .* not fb9bb67e33772a9cc0b895e4"):
        data.load("emnist-letters")
    monkeypatch.setattr(idx, "EMNIST_ZIP", replace(idx.EMNIST_ZIP, sha256=(download.sha256(path),)))
    loaded = data.load("emnist-letters", validation=0)
    assert loaded.classes == tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    assert (len(loaded.train), loaded.validation, len(loaded.test)) == (52, None, 26)
    assert loaded.facts["mirrors"] is False


def test_byclass_order_and_merged_classes():
    assert "".join(idx.SETS["emnist-byclass"].classes[8:14]) == "89ABCD"
    assert idx.SETS["emnist-byclass"].classes[61] == "z"
    assert len(idx.SETS["emnist-balanced"].classes) == 47
    assert "".join(idx.SETS["emnist-bymerge"].classes[36:]) == "abdefghnqrt"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda b: b[:-1], "should have 7,840 bytes of data, but has only 7,839"),
        (lambda b: b + b"!", "but has more"),
        (lambda b: b"\1" + b[1:], "not an IDX file"),
        (lambda b: b"", "not an IDX file: it starts with nothing"),
        (lambda b: b[:2] + b"\x0d" + b[3:], "IDX type 13 in 3 dimensions"),
        (lambda b: b[:3] + b"\1" + b[4:], "in 1 dimensions"),
        (lambda b: b[:9], "its header is incomplete"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrong_sizes_and_headers(tmp_path, idx_bytes, damage, says, zipped):
    body = damage(idx_bytes(part(10)[0]))
    path = tmp_path / "x-ubyte"
    path.write_bytes(gzip.compress(body) if zipped else body)
    with pytest.raises(UserError, match=says) as raised:
        idx.read_path(path, 3)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_truncated_and_damaged_gzip(tmp_path, idx_bytes):
    whole = gzip.compress(idx_bytes(part(50)[0]))
    path = tmp_path / "x.gz"
    for cut in (3, 12, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(UserError, match=r"x\.gz"):
            idx.read_path(path, 3)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    path.write_bytes(flipped)
    with pytest.raises(UserError, match=r"x\.gz"):
        idx.read_path(path, 3)


def test_parts_that_do_not_fit(tmp_path, idx_folder):
    images, labels = part(12)
    short = idx_folder(tmp_path / "a", {"train": (images, labels[:-1])})
    with pytest.raises(UserError, match="12 images, but 11 labels"):
        data.load(short)
    lonely = idx_folder(tmp_path / "b", {"t10k": (images, labels)})
    with pytest.raises(UserError, match="no training part"):
        data.load(lonely)
    unlabelled = idx_folder(tmp_path / "c", {"train": (images, labels)})
    next(unlabelled.glob("*labels*")).unlink()
    with pytest.raises(UserError, match="no labels"):
        data.load(unlabelled)
    two = idx_folder(tmp_path / "d", {"train": (images, labels)}, "emnist-digits-")
    idx_folder(two, {"train": (images, labels)}, "emnist-mnist-")
    with pytest.raises(UserError, match="several IDX sets"):
        data.load(two)
    gap = idx_folder(tmp_path / "e", {"train": (images, labels * 2)})
    assert data.load(gap).classes == ("0", "2", "4")
    one = idx_folder(tmp_path / "f", {"train": (images, labels * 0)})
    with pytest.raises(UserError, match="at least two are needed"):
        data.load(one)


@pytest.mark.skipif(not (download.DEBIAN / "fashion-mnist").exists(), reason="Debian's package")
class TestFashion:
    def test_is_found_by_itself(self):
        loaded = data.load("fashion-mnist")
        assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (54000, 6000, 10000)
        assert loaded.classes[9] == "Ankle boot"
        assert set(loaded.facts["counts"]["test"].values()) == {1000}
        assert set(loaded.facts["counts"]["validation"].values()) == {600}
        assert loaded.facts["mirrors"] is True
        # Its first test image is an ankle boot: dark above, its sole along the bottom.
        boot = loaded.test.images(np.array([0]))[0, ..., 0]
        assert loaded.test.labels[0] == 9
        assert boot[:7].max() == 0 < boot[18:20].mean()

    def test_five_thousand_for_validation_as_in_the_paper(self):
        loaded = data.load("fashion-mnist", validation=5000)
        assert (len(loaded.train), len(loaded.validation)) == (55000, 5000)

    def test_a_damaged_file_is_refused(self, tmp_path, monkeypatch):
        home = tmp_path / "fashion-mnist"
        home.mkdir()
        for path in (download.DEBIAN / "fashion-mnist").iterdir():
            (home / path.name).symlink_to(path)
        labels = home / "t10k-labels-idx1-ubyte.gz"
        content = labels.read_bytes()
        labels.unlink()
        labels.write_bytes(content[:-1])
        monkeypatch.setenv("RESLAB_DATA", str(tmp_path))
        with pytest.raises(UserError, match=r"t10k-labels.* has sha256"):
            data.load("fashion-mnist")
        labels.unlink()
        with pytest.raises(UserError, match="has no t10k-labels"):
            data.load("fashion-mnist")

    def test_the_wrong_set_in_its_place(self, tmp_path, idx_folder, monkeypatch):
        idx_folder(tmp_path / "fashion-mnist", {"train": part(9), "t10k": part(9)}, zipped=False)
        monkeypatch.setenv("RESLAB_DATA", str(tmp_path))
        with pytest.raises(UserError, match=r"\(9, 28, 28\), but fashion-mnist has 60,000"):
            data.load("fashion-mnist")


def test_a_missing_set_says_what_to_do(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError) as raised:
        data.load("mnist")
    message = str(raised.value)
    assert "train-images-idx3-ubyte.gz" in message
    assert "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609" in message
    assert str(tmp_path / "cache" / "mnist") in message
    assert "\n" not in message


@pytest.mark.parametrize("labels", [(1, 2, 3), (3, 7), (0, 9, 200)])
def test_labels_of_any_numbers_are_classes(tmp_path, idx_folder, labels):
    images, _ = part(60)
    values = np.resize(np.array(labels, np.uint8), 60)
    parts = {"train": (images, values), "t10k": (images[:1], values[:1])}
    loaded = data.load(idx_folder(tmp_path / "x", parts))
    assert loaded.classes == tuple(map(str, labels))
    assert loaded.test.labels.tolist() == [0]
    assert loaded.facts["missing_classes"] == {"test": list(map(str, labels[1:]))}
    parts["t10k"] = images[:1], np.array([5], np.uint8)
    with pytest.raises(UserError, match="the test part has the label 5"):
        data.load(idx_folder(tmp_path / "y", parts))
