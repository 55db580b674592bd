"""A split by content: nothing that happens to other images moves an image."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from reslab import data
from reslab.core.errors import UserError
from reslab.data import content, duplicates

keys = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200, unique=True)
fractions = st.floats(0.01, 0.9)
seeds = st.integers(0, 10)


def part_of(images: list[int], wanted: float, seed: int = 0) -> dict[int, bool]:
    array = np.array(images, np.uint64)
    return dict(zip(images, content.chosen(array, wanted, seed, "test").tolist(), strict=True))


@settings(max_examples=80, deadline=None)
@given(images=keys, others=keys, fraction=fractions, seed=seeds)
def test_adding_and_deleting_moves_no_other_image(images, others, fraction, seed):
    before = part_of(images, fraction, seed)
    after = part_of(list({*images[::2], *others}), fraction, seed)
    assert all(after[image] == before[image] for image in images[::2])


@settings(max_examples=50, deadline=None)
@given(images=keys, more=keys, wanted=st.integers(1, 30), seed=seeds)
def test_a_number_of_images_moves_at_most_as_many_as_were_added(images, more, wanted, seed):
    before = part_of(images, wanted, seed)
    after = part_of(list({*images, *more}), wanted, seed)
    assert sum(before.values()) == min(wanted, len(images))
    assert sum(after[image] != before[image] for image in images) <= len(set(more) - set(images))


@settings(max_examples=50, deadline=None)
@given(first=st.integers(0, 2**63), fraction=st.floats(0.05, 0.5), seed=seeds)
def test_the_proportion_is_within_four_standard_deviations(first, fraction, seed):
    n = 400
    part = part_of(list(range(first, first + n)), fraction, seed)
    slack = 4 * math.sqrt(n * fraction * (1 - fraction)) + 1
    assert abs(sum(part.values()) - n * fraction) <= slack


def test_seeds_and_parts_are_independent():
    array = np.arange(4000, dtype=np.uint64)
    test = content.chosen(array, 0.5, 0, "test")
    for other in (
        content.chosen(array, 0.5, 1, "test"),
        content.chosen(array, 0.5, 0, "validation"),
    ):
        assert abs((test == other).mean() - 0.5) < 0.05


def photo(seed: int, side: int = 64) -> Image.Image:
    """A picture of random patches, which has no near-duplicate among those of other seeds."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    return Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC)


def fill(root: Path, classes: dict[str, range], suffix: str = ".png") -> Path:
    for name, numbers in classes.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in numbers:
            photo(i).save(root / name / f"{i:03}{suffix}")
    return root


def parts(root: Path, **options: object) -> dict[str, str]:
    """The part of each image, by its number."""
    loaded = data.load(root, size=8, **options)
    splits = {"train": loaded.train, "validation": loaded.validation, "test": loaded.test}
    return {
        Path(name).name.split(".")[0].split("_")[-1]: part
        for part, split in splits.items()
        if split is not None
        for name in split.names
    }


CLASSES = {"a": range(40), "b": range(40, 80)}


def test_no_change_of_a_folder_moves_another_image(tmp_path):
    root = fill(tmp_path / "photos", CLASSES)
    before = parts(root)
    assert set(before.values()) == {"train", "validation", "test"}

    (root / "a" / "003.png").rename(root / "b" / "003.png")  # a corrected label
    assert parts(root) == before
    for file in sorted((root / "b").iterdir())[:10]:
        file.rename(file.with_name(f"renamed_{file.name}"))
    assert parts(root) == before
    fill(root, {"c": range(80, 110)})  # a new class
    after = parts(root)
    assert {image: after[image] for image in before} == before
    (root / "a" / "007.png").unlink()
    assert parts(root) == {image: part for image, part in after.items() if image != "007"}
    (root / "a").rename(root / "z")  # another name, and another order of the classes
    assert parts(root) == {image: part for image, part in after.items() if image != "007"}


def test_validation_of_a_train_folder_stays_as_well(tmp_path):
    root = tmp_path / "photos"
    fill(root / "train", CLASSES)
    fill(root / "test", {"a": range(200, 204), "b": range(204, 208)})
    before = parts(root)
    fill(root / "train", {"a": range(300, 330)})
    after = parts(root)
    assert {image: after[image] for image in before} == before


def test_equal_images_come_into_one_part(tmp_path):
    root = fill(tmp_path / "photos", CLASSES)
    for file in list((root / "a").iterdir()):
        (root / "b" / f"copy_{file.name}").write_bytes(file.read_bytes())
    loaded = data.load(root, size=8)
    tests = set(loaded.test.digests.tolist())
    assert tests.isdisjoint(loaded.train.digests.tolist())
    assert loaded.facts["identical_in_train_and_test"] == 0


def test_groups_stay_together(tmp_path):
    root = tmp_path / "photos"
    for name in ("a", "b"):
        (root / name).mkdir(parents=True)
    for i in range(120):
        photo(i).save(root / "ab"[i % 2] / f"patient{i // 6:02}_{i:03}.png")
    by_patient: dict[int, set[str]] = {}
    pattern = "(patient[0-9]+)_"
    for image, part in parts(root, group=pattern).items():
        by_patient.setdefault(int(image) // 6, set()).add(part)
    assert len(by_patient) == 20
    assert all(len(group) == 1 for group in by_patient.values())
    assert set.union(*by_patient.values()) >= {"train", "test"}
    assert parts(root, group=pattern) != parts(root)
    with pytest.raises(UserError, match="matches none of the 120 files"):
        data.load(root, group="doctor")
    with pytest.raises(UserError, match="not a regular expression"):
        data.load(root, group="(")


def test_groups_that_share_an_image_are_one_group():
    digests = np.array([1, 2, 2, 3], np.uint64)
    names = ["x_1", "x_2", "y_1", "y_2"]
    grouped = content.group_keys(names, "^(.)_", digests)
    assert len(set(grouped.tolist())) == 2
    assert len(set(content.joined(grouped, content.equal_pairs(digests)).tolist())) == 1


def test_near_duplicates_come_into_one_part(tmp_path):
    pytest.importorskip("imagehash")
    root = fill(tmp_path / "photos", CLASSES)
    for i in range(40):
        changed = ImageEnhance.Brightness(photo(i)).enhance(1.03).resize((56, 56))
        changed.save(root / "b" / f"copy_{500 + i}.jpg", quality=80)
    part = parts(root, near_duplicates=True)
    assert all(part[f"{i:03}"] == part[f"{500 + i}"] for i in range(40))
    apart = parts(root, near_duplicates=False)
    assert any(apart[f"{i:03}"] != apart[f"{500 + i}"] for i in range(40))
    loaded = data.load(root, size=8)
    assert loaded.provenance["near_duplicates"] is True
    assert data.from_provenance(loaded.provenance).test.names == loaded.test.names


def test_plain_pictures_are_not_called_near_duplicates(tmp_path):
    """Where most pictures look alike, they are split one by one."""
    pytest.importorskip("imagehash")
    for i in range(60):
        (tmp_path / "x" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16), (200, i, 10)).save(tmp_path / "x" / "ab"[i % 2] / f"{i}.png")
    counts = data.load(tmp_path / "x", size=8, near_duplicates=True).facts["counts"]
    assert min(counts["train"].values()) > 10
    assert sum(counts["test"].values()) > 0


def test_near_duplicates_need_the_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(duplicates, "installed", lambda: False)
    root = fill(tmp_path / "photos", {"a": range(10), "b": range(10, 20)})
    assert data.load(root, size=8).provenance["near_duplicates"] is False
    with pytest.raises(UserError, match=r"reslab\[duplicates\]"):
        data.load(root, size=8, near_duplicates=True)


def test_the_rule_of_earlier_versions(tmp_path):
    root = fill(tmp_path / "photos", CLASSES)
    old = {"source": str(root), "size": 8, "seed": 0, "validation": 0.1, "test": 0.2}
    loaded = data.from_provenance(old)
    assert loaded.facts["split"] == "stratified by class, seed 0"
    assert loaded.facts["counts"]["test"] == {"a": 8, "b": 8}
    assert data.load(root, size=8).facts["split"] == "by the content of the images, seed 0"
    with pytest.raises(UserError, match="no split 'hash'"):
        data.load(root, split="hash")


def test_a_class_without_a_training_image_is_refused(tmp_path):
    root = fill(tmp_path / "photos", {"a": range(30), "b": range(30, 33)})
    lonely = next(  # the first seed that puts all of b into the test part
        seed for seed in range(300) if content.chosen(digests(root, "b"), 0.5, seed, "test").all()
    )
    with pytest.raises(UserError, match="class 'b' has 3 images"):
        data.load(root, size=8, seed=lonely, test=0.5, near_duplicates=False)


def digests(root: Path, name: str) -> np.ndarray:
    files = sorted((root / name).iterdir())
    return content.file_digests(hashlib.sha256(f.read_bytes()).hexdigest() for f in files)


def test_groups_are_for_files():
    with pytest.raises(UserError, match="--group is for folders"):
        data.load("glyphs", group="x")
