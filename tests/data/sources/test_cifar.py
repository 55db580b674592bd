from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reslab import data
from reslab.core.errors import UserError
from reslab.data.sources import cifar, download

RNG = np.random.default_rng(0)


def records(n: int, label_bytes: int, classes: int) -> bytes:
    rows = RNG.integers(0, 256, (n, label_bytes + 3072), dtype=np.uint8)
    rows[:, 0] = 0
    rows[:, label_bytes - 1] = np.arange(n) % classes
    return rows.tobytes()


@pytest.fixture
def small(monkeypatch):
    """The sets with 20 and 200 records a file, so that the tests are fast."""
    for name, n in (("cifar10", 20), ("cifar100", 200)):
        known = cifar.SETS[name]
        monkeypatch.setitem(
            cifar.SETS, name, replace(known, records=dict.fromkeys(known.records, n))
        )
    return cifar.SETS


def files(known: cifar.CifarSet) -> dict[str, bytes]:
    return {f: records(n, known.label_bytes, len(known.classes)) for f, n in known.records.items()}


def test_planes_are_red_then_green_then_blue_row_by_row():
    record = np.zeros(3073, np.uint8)
    record[0] = 7
    planes = record[1:].reshape(3, 1024)
    planes[0, 0] = 10  # red at the top left
    planes[1, 31] = 20  # green at the top right
    planes[2, 32 * 31] = 30  # blue at the bottom left
    split = cifar.parse(record.tobytes(), "x", cifar.SETS["cifar10"], 1)
    image = split.images(np.array([0]))[0]
    assert split.labels.tolist() == [7]
    assert image.shape == (32, 32, 3)
    assert image[0, 0].tolist() == [10, 0, 0]
    assert image[0, 31].tolist() == [0, 20, 0]
    assert image[31, 0].tolist() == [0, 0, 30]
    assert image.sum() == 60


def test_the_fine_label_is_the_second_byte():
    record = np.zeros(3074, np.uint8)
    record[:2] = 4, 30  # aquatic mammals, dolphin
    known = cifar.SETS["cifar100"]
    split = cifar.parse(record.tobytes(), "x", known, 1)
    assert known.classes[split.labels[0]] == "dolphin"
    assert len(known.classes) == 100
    assert list(known.classes) == sorted(known.classes)


def test_published_sizes():
    assert cifar.SETS["cifar10"].records["test_batch.bin"] * 3073 == 30_730_000
    with pytest.raises(UserError, match=r"test_batch\.bin should be 30,730,000 bytes .* is 3"):
        cifar.parse(b"abc", "test_batch.bin", cifar.SETS["cifar10"], 10_000)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("how", ["files", "inner folder", "path", "archive"])
def test_found_in_every_form(tmp_path, small, monkeypatch, name, how):
    known = small[name]
    home = tmp_path / name
    home.mkdir()
    if how == "archive":
        write_archive(home / known.archive.name, known, files(known))
        allowed = replace(known.archive, sha256=(download.sha256(home / known.archive.name),))
        monkeypatch.setitem(cifar.SETS, name, replace(known, archive=allowed))
    else:
        inner = home / known.folder if how == "inner folder" else home
        inner.mkdir(exist_ok=True)
        for file, body in files(known).items():
            (inner / file).write_bytes(body)
    monkeypatch.setenv("RESLAB_DATA", str(tmp_path))
    loaded = data.load(home if how == "path" else name)
    classes = len(known.classes)
    assert loaded.name == name
    assert len(loaded.classes) == classes
    assert loaded.image_shape == (32, 32, 3)
    assert len(loaded.train) + len(loaded.validation) == 100 if classes == 10 else 200
    for split in (loaded.train, loaded.validation, loaded.test):
        assert len(np.unique(split.labels)) == classes


def write_archive(path: Path, known: cifar.CifarSet, bodies: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for file, body in bodies.items():
            info = tarfile.TarInfo(f"{known.folder}/{file}")
            info.size = len(body)
            archive.addfile(info, io.BytesIO(body))


def test_an_archive_of_tricks_writes_nothing(tmp_path, small, monkeypatch):
    known = small["cifar10"]
    path = tmp_path / "in" / known.archive.name
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        evil = tarfile.TarInfo("../../evil")
        evil.size = 4
        archive.addfile(evil, io.BytesIO(b"evil"))
        link = tarfile.TarInfo(f"{known.folder}/test_batch.bin")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    allowed = replace(known.archive, sha256=(download.sha256(path),))
    monkeypatch.setitem(cifar.SETS, "cifar10", replace(known, archive=allowed))
    with pytest.raises(UserError, match=r"has no data_batch_1\.bin"):
        data.load(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["in", known.archive.name]


def test_damaged_archives_and_files(tmp_path, small, monkeypatch):
    known = small["cifar10"]
    path = tmp_path / known.archive.name
    write_archive(path, known, files(known))
    whole = path.read_bytes()
    with pytest.raises(UserError, match=r"has sha256 .*, not c4a38c50a1bc5f3a1c5537f2155ab9d6"):
        data.load(path)
    for cut in (10, len(whole) // 2):
        path.write_bytes(whole[:cut])
        allowed = replace(known.archive, sha256=(download.sha256(path),))
        monkeypatch.setitem(cifar.SETS, "cifar10", replace(known, archive=allowed))
        with pytest.raises(UserError, match="is damaged"):
            data.load(path)
    folder = tmp_path / "bins"
    folder.mkdir()
    for file, body in files(known).items():
        (folder / file).write_bytes(body)
    (folder / "data_batch_3.bin").write_bytes(b"\0" * 100)
    with pytest.raises(UserError, match=r"data_batch_3\.bin should be 61,460 bytes"):
        data.load(folder)
    (folder / "data_batch_3.bin").write_bytes(b"\xff" * 61_460)
    with pytest.raises(UserError, match="label 255; it is not CIFAR-10"):
        data.load(folder)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(UserError, match=r"cannot read .*data_batch_3\.bin"):
        data.load(folder)


def test_missing_says_what_to_do():
    with pytest.raises(UserError, match=r"cifar-100-binary\.tar\.gz .*58a81ae192c23a4be8b1804d6"):
        data.load("cifar100")
