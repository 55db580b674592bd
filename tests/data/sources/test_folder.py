from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reslab import data
from reslab.core.errors import UserError
from reslab.data import discovery, formats, scan
from reslab.data.notes import notes
from reslab.data.sources import files

COLOURS = {"blue": (0, 0, 255), "green": (0, 255, 0), "red": (255, 0, 0)}


def fill(place: Path, counts: dict[str, int], suffix: str = ".png") -> Path:
    """Class folders of flat pictures, each a slightly different shade and size."""
    for name, count in counts.items():
        (place / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            shade = np.clip(np.array(COLOURS.get(name, (90, 90, 90))) - i, 0, 255)
            flat = np.full((20 + i % 7, 30, 3), shade, np.uint8)
            Image.fromarray(flat).save(place / name / f"{i:03}{suffix}")
    return place


ALIKE = dict.fromkeys(COLOURS, 10)


def test_class_folders_are_split(tmp_path):
    root = fill(tmp_path / "colours", {"blue": 20, "green": 40, "red": 30})
    loaded = data.load(root, size=16)
    assert loaded.name == "colours"
    assert loaded.source == str(root)
    assert loaded.classes == ("blue", "green", "red")
    assert loaded.image_shape == (16, 16, 3)
    for part, least, most in (("train", 10, 35), ("validation", 0, 9), ("test", 1, 16)):
        assert all(least <= n <= most for n in loaded.facts["counts"][part].values())
    parts = (loaded.train, loaded.validation, loaded.test)
    names = [name for part in parts for name in part.names]
    assert len(names) == len(set(names)) == 90
    for part in parts:
        images = part.images(np.arange(len(part)))
        assert images.shape == (len(part), 16, 16, 3)
        assert (images[:, 8, 8].argmax(1) == 2 - part.labels).all()
        assert all(
            n.startswith(loaded.classes[y]) for n, y in zip(part.names, part.labels, strict=True)
        )


def test_seeds_and_provenance(tmp_path):
    root = fill(tmp_path / "c", ALIKE)
    one, other = data.load(root, size=8), data.load(root, size=8, seed=1)
    again = data.load(**one.provenance)
    assert again.test.names == one.test.names != other.test.names
    assert again.train.names == one.train.names
    assert again.checksum == one.checksum == other.checksum
    assert again.facts == one.facts
    shutil.move(root, tmp_path / "d" / "c")  # elsewhere, and with other times
    assert data.load(tmp_path / "d" / "c").checksum == one.checksum
    Image.new("RGB", (9, 9)).save(tmp_path / "d" / "c" / "red" / "000.png")
    assert data.load(tmp_path / "d" / "c").checksum != one.checksum


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val"])
def test_train_and_val_means_that_val_is_judged(tmp_path, name):
    root = tmp_path / "x"
    fill(root / "train", ALIKE)
    fill(root / name, dict.fromkeys(COLOURS, 3))
    loaded = data.load(root, size=8)
    assert (len(loaded.train) + len(loaded.validation), len(loaded.test)) == (30, 9)
    assert all(n.startswith(f"{name}/") for n in loaded.test.names)
    assert all(n.startswith("train/") for n in loaded.validation.names)
    assert "validation part is used as the test part" in loaded.facts["split"]


def test_train_and_test(tmp_path):
    root = tmp_path / "x"
    fill(root / "train", ALIKE)
    fill(root / "test", dict.fromkeys(COLOURS, 3))
    loaded = data.load(root, size=8, validation=6)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (24, 6, 9)
    assert data.load(root, size=8, validation=0).validation is None


def test_all_three_are_taken_as_they_are(tmp_path):
    root = tmp_path / "x"
    fill(root / "train", ALIKE)
    fill(root / "val", dict.fromkeys(COLOURS, 2))
    fill(root / "test", dict.fromkeys(COLOURS, 3))
    loaded = data.load(root, size=8)
    assert (len(loaded.train), len(loaded.validation), len(loaded.test)) == (30, 6, 9)
    assert len(data.load(root, size=8, validation=0).train) == 36


def test_only_train_is_split(tmp_path):
    fill(tmp_path / "x" / "train", ALIKE)
    loaded = data.load(tmp_path / "x", size=8)
    assert len(loaded.train) + len(loaded.validation) + len(loaded.test) == 30
    assert len(loaded.train) > 15
    whole = data.load(tmp_path / "x", size=8, test=None, validation=0)
    assert (len(whole.train), whole.validation, whole.test) == (30, None, None)


def test_what_is_looked_at_and_what_not(tmp_path):
    root = fill(tmp_path / "x", ALIKE)
    (root / "red" / "notes.txt").write_text("not a picture")
    (root / "red" / "._000.png").write_bytes(b"a resource fork")
    (root / ".git").mkdir()
    (root / "__MACOSX").mkdir()
    fill(root / "red", {"deeper": 2})
    fill(tmp_path / "elsewhere", {"more": 3}, ".jpg")
    (root / "blue" / "linked").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "blue" / "again").symlink_to(root / "blue" / "linked")
    (root / "blue" / "photo").write_bytes((root / "blue" / "000.png").read_bytes())
    (root / "blue" / "photo.png.part").write_bytes((root / "blue" / "001.png").read_bytes())
    (root / "green" / "Thumbs.db").write_bytes(b"of Windows")
    (root / "green" / "lost.lnk").symlink_to(root / "nowhere")
    (root / "green" / "README").write_text("nothing to see")
    fill(root / "green", {".ipynb_checkpoints": 2})
    Image.new("RGB", (8, 8)).save(root / "stray.jpg")
    loaded = data.load(root, size=8)
    assert sum(loaded.facts["counts"]["train"].values()) == len(loaded.train)
    assert sum(sum(c.values()) for c in loaded.facts["counts"].values()) == 32 + 5
    assert loaded.facts["passed_over"] == {
        ".txt file": 1,
        "broken link": 1,
        "file without a suffix": 1,
        "hidden file": 1,
        "hidden folder": 2,
        "image outside the class folders": 1,
        "linked folder that was read already": 1,
        "system file": 1,
        "system folder": 1,
    }
    text = discovery.sentence(loaded.facts["passed_over"])
    assert text.startswith("passed over: 2 hidden folders, 1 .txt file, 1 broken link")
    assert "\n" not in text
    assert any("red/deeper/" in n for p in (loaded.train, loaded.test) for n in p.names)


def test_grey_or_colour_as_asked(tmp_path):
    root = fill(tmp_path / "x", ALIKE)
    assert data.load(root, size=8, channels=1).image_shape == (8, 8, 1)
    grey = data.load(root, channels=1, size=8).train.images([0, 1])
    assert grey.shape == (2, 8, 8, 1)
    assert data.load(root).image_shape == (224, 224, 3)


def damage(root: Path) -> dict[str, str]:
    """Makes three files bad in three ways; returns their names with part of the reason."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "red" / "000.jpg")
    (root / "red" / "000.jpg").write_bytes((root / "red" / "000.jpg").read_bytes()[:2000])
    (root / "green" / "001.png").write_text("<html>404 not found</html>")
    (root / "blue" / "002.png").unlink()
    (root / "blue" / "002.png").symlink_to(root / "nowhere")
    return {"red/000.jpg": "truncated", "green/001.png": "not an image", "blue/002.png": "No such"}


def test_damaged_images_stop_it_unless_skipped(tmp_path):
    root = fill(tmp_path / "x", ALIKE)
    bad = damage(root)
    for _ in range(2):  # the second time from the index
        with pytest.raises(UserError) as raised:
            data.load(root, size=8)
        message = str(raised.value)
        assert "3 images in" in message
        assert "cannot be read" in message
        assert "--skip-bad" in message
        assert "\n" not in message
        for name, why in bad.items():
            assert name in message
            assert why in message
    loaded = data.load(root, size=8, skip_bad=True)
    assert {s["file"] for s in loaded.facts["skipped"]} == set(bad)
    used = [n for p in (loaded.train, loaded.validation, loaded.test) for n in p.names]
    assert len(used) == 30 + 1 - 3
    assert not set(used) & set(bad)


def test_a_bomb_is_a_bad_file(tmp_path, monkeypatch):
    root = fill(tmp_path / "x", ALIKE)
    Image.new("1", (1500, 1500)).save(root / "red" / "bomb.png")
    monkeypatch.setattr(formats, "MOST_PIXELS", 1_000_000)
    with pytest.raises(
        UserError, match=r"cannot be read: red/bomb\.png \(a decompression bomb: 1500x1500"
    ):
        data.load(root, size=8)


def test_an_unchanged_file_is_not_read_again(tmp_path, monkeypatch):
    root = fill(tmp_path / "x", ALIKE)
    data.load(root, size=8)
    looked: list[Path] = []
    real = scan._check
    monkeypatch.setattr(scan, "_check", lambda p, *a: looked.append(p) or real(p, *a))
    data.load(root, size=8)
    assert looked == []
    Image.new("RGB", (5, 5)).save(root / "red" / "003.png")
    data.load(root, size=8)
    assert looked == [root / "red" / "003.png"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1]", b'{"format": 1, "files": {"a": 3}}', b"\xff"]
)
def test_a_damaged_index_is_made_anew(tmp_path, content):
    root = fill(tmp_path / "x", ALIKE)
    first = data.load(root, size=8, cache=tmp_path / "cache")
    (index,) = (tmp_path / "cache" / "folders").iterdir()
    index.write_bytes(content)
    assert data.load(root, size=8, cache=tmp_path / "cache").checksum == first.checksum


def test_refusals(tmp_path):
    def refused(root: Path, **options: object) -> str:
        with pytest.raises(UserError) as raised:
            data.load(root, size=8, **options)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no class folders" in refused(empty)
    (empty / "a").mkdir()
    (empty / "b").mkdir()
    assert "there are no images in" in refused(empty)
    flat = fill(tmp_path, {"flat": 5}) / "flat"
    assert "images, but no class folders" in refused(flat)
    assert "one class, 'only'" in refused(fill(tmp_path / "one", {"only": 9}))
    assert "class 'rare' in" in refused(fill(tmp_path / "few", {"red": 9, "rare": 2}))
    assert "has 2 images, but the parts need at least 3" in refused(tmp_path / "few")
    assert "--validation 0 or --test none" in refused(tmp_path / "few")
    data.load(tmp_path / "few", size=8, test="none")
    data.load(tmp_path / "few", size=8, validation=0)  # two are enough for two parts
    assert "class 'rare' in" in refused(fill(tmp_path / "none", {"red": 9, "rare": 0}))
    headless = tmp_path / "headless"
    fill(headless / "val", ALIKE)
    fill(headless / "test", ALIKE)
    assert "no train/" in refused(headless)
    strange = tmp_path / "strange"
    fill(strange / "train", {"red": 5, "blue": 5})
    fill(strange / "test", {"red": 5, "blue": 5, "green": 5})
    assert "the class 'green', which train/ does not have" in refused(strange)
    lacking = tmp_path / "lacking"
    fill(lacking / "train", ALIKE)
    fill(lacking / "test", {"red": 5, "blue": 5})
    loaded = data.load(lacking, size=8)
    assert loaded.facts["missing_classes"]["test"] == ["green"]
    assert "the test part has no image of 1 class: green" in notes(loaded.facts)
    fill(lacking / "test", {"green": 0})
    assert data.load(lacking, size=8).facts["missing_classes"]["test"] == ["green"]
    for name in ("red", "blue"):
        shutil.rmtree(lacking / "test" / name)
    assert "the test part of" in refused(lacking)
    assert "is a file" in refused(tmp_path / "flat" / "000.png")


ROOT = getattr(os, "geteuid", lambda: 0)() == 0  # and Windows, which has no such permissions


@pytest.mark.skipif(ROOT, reason="root may read everything")
def test_a_folder_that_may_not_be_read(tmp_path):
    root = fill(tmp_path / "x", ALIKE)
    (root / "red" / "000.png").chmod(0)
    with pytest.raises(UserError, match=r"red/000\.png \(Permission denied\)"):
        data.load(root)


def test_identical_files_in_train_and_test_are_counted(tmp_path):
    root = tmp_path / "x"
    fill(root / "train", ALIKE)
    fill(root / "test", dict.fromkeys(COLOURS, 3))
    assert data.load(root, size=8).facts["identical_in_train_and_test"] == 9
    assert data.load(fill(tmp_path / "y", ALIKE), size=8).facts["identical_in_train_and_test"] == 0


def test_a_file_that_changes_after_the_check_is_named(tmp_path):
    root = fill(tmp_path / "x", ALIKE)
    loaded = data.load(root, size=8)
    assert isinstance(loaded.train, files.FileSplit)
    (root / loaded.train.names[4]).write_bytes(b"gone")
    with pytest.raises(UserError, match="changed since it was checked"):
        loaded.train.images(np.arange(8))
