"""Test images that look like training or validation images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reslab import data as datasets
from reslab.data import ArraySplit, Data, duplicates
from reslab.evaluation import near_duplicates
from tests.helpers.cli import pictures

pytest.importorskip("imagehash")


def blurred(n: int, seed: int) -> np.ndarray:
    """Coloured pictures with structure, uint8 (n, 64, 64, 3)."""
    rng = np.random.default_rng(seed)
    image = np.zeros((n, 64, 64, 3))
    for step in (4, 8, 16, 32):
        blocks = rng.integers(0, 60, (n, 64 // step, 64 // step, 3))
        image += blocks.repeat(step, 1).repeat(step, 2)
    return image.astype(np.uint8)


def data_of(train: ArraySplit, validation: ArraySplit | None, test: ArraySplit) -> Data:
    shape = train.image_shape
    return Data("made", "made", ("a", "b"), shape, train, validation, test, "", {}, {})


def made() -> Data:
    """Test images 2 and 5 are in the other parts too, the latter with another label."""
    train, validation, test = blurred(30, 0), blurred(10, 1), blurred(12, 2)
    test[2] = np.clip(train[7] + 3, 0, 255)
    test[5] = validation[3]
    labels = np.zeros(30, int)
    return data_of(
        ArraySplit.of(train, labels),
        ArraySplit.of(validation, 1 + labels[:10]),
        ArraySplit.of(test, labels[:12]),
    )


def test_each_picture_finds_its_nearest_partner() -> None:
    images = blurred(20, 3)
    hashes = duplicates.of_images(images)
    changed = images[[4, 9]] + np.uint8(3)
    asked = duplicates.of_images(np.concatenate([changed, blurred(3, 4)]))
    pairs = duplicates.nearest(asked, np.concatenate([hashes, hashes]))
    assert [(i, j) for i, j, _ in pairs.tolist()] == [(0, 4), (1, 9)]
    assert (pairs[:, 2] <= duplicates.ACROSS_BITS).all()


def test_blocks_do_not_change_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = duplicates.of_images(blurred(40, 5))
    whole = duplicates.nearest(hashes, hashes)
    monkeypatch.setattr(duplicates, "NUMBERS", 3 * 40)
    np.testing.assert_array_equal(whole, duplicates.nearest(hashes, hashes))
    assert whole.tolist() == [[i, i, 0] for i in range(40)]
    assert duplicates.nearest(hashes[:0], hashes).shape == (0, 3)


def test_pairs_between_the_parts_are_found_and_other_labels_come_first() -> None:
    data = made()
    assert data.test is not None
    result = near_duplicates.find(data.test, data, trained_on=0)
    assert result is not None
    counts = {key: value for key, value in result.items() if key != "pairs"}
    assert counts == {
        "images": 12,
        "of": 12,
        "others": 40,
        "others_of": 40,
        "count": 2,
        "differ": 1,
    }
    first, second = result["pairs"]
    assert (first["test"]["index"], first["other"]["index"]) == (5, 3)
    assert (first["other"]["split"], first["other"]["true"]) == ("validation", "b")
    assert (second["test"]["index"], second["other"]["index"]) == (2, 7)
    assert second["other"]["split"] == "train"
    assert second["bits"] <= duplicates.ACROSS_BITS
    assert second["test"]["png"]


def test_a_short_training_looks_at_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "FEWEST_HASHED", 16)
    data = made()
    assert data.test is not None
    result = near_duplicates.find(data.test, data, trained_on=0)
    assert result is not None
    assert (result["images"], result["of"], result["others_of"]) == (8, 12, 40)
    assert 8 <= result["others"] <= 10
    longer = near_duplicates.find(data.test, data, trained_on=52 * near_duplicates.STEPS_PER_HASH)
    assert longer is not None
    assert (longer["images"], longer["others"]) == (12, 40)


def test_several_labels_are_compared_as_a_whole() -> None:
    data = made()
    rows = {}
    for name in ("train", "validation", "test"):
        split: Any = getattr(data, name)
        rows[name] = replace(split, labels=np.eye(2, dtype=np.int32)[split.labels])
    rows["test"].labels[2] = 0
    result = near_duplicates.find(rows["test"], replace(data, **rows), trained_on=0)
    assert result is not None
    assert result["differ"] == 2
    assert sorted(pair["test"]["true"] for pair in result["pairs"]) == ["a", "no label"]


def test_files_of_given_parts_are_compared_without_reading_them_again(tmp_path: Path) -> None:
    train = pictures(tmp_path / "photos" / "train", each=8)
    test = pictures(tmp_path / "photos" / "test", each=8)
    for number, file in enumerate(sorted(test.rglob("*.png"))):  # other pictures than in train
        Image.fromarray(blurred(1, 100 + number)[0]).save(file)
    original = sorted(train.rglob("*.png"))[3]
    Image.fromarray(blurred(1, 7)[0]).save(original)
    copy = test / original.parent.name / "copy.jpg"
    with Image.open(original) as picture:
        picture.save(copy, quality=80)
    data = datasets.load(tmp_path / "photos", size=12, validation=0)
    assert data.test is not None
    result = near_duplicates.find(data.test, data, trained_on=0)
    assert result is not None
    assert [pair["test"]["file"] for pair in result["pairs"]] == [
        copy.relative_to(tmp_path / "photos").as_posix()
    ]
    off = datasets.load(tmp_path / "photos", size=12, validation=0, near_duplicates=False)
    assert off.test is not None
    assert near_duplicates.find(off.test, off, trained_on=0) is None


def test_without_the_library_images_in_memory_are_not_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duplicates, "installed", lambda: False)
    data = made()
    assert data.test is not None
    assert near_duplicates.find(data.test, data, trained_on=0) is None
