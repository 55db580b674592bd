"""Folders as people have them: which folders are parts, and which are classes."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reslab import data
from reslab.core.errors import UserError
from reslab.data import discovery
from reslab.data.sources import layout

CLASSES = "bus", "car", "van"


def pictures(folder: Path, count: int = 10) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        seed = abs(hash((str(folder), i))) % 2**32
        noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


def classes(folder: Path, count: int = 10, names: tuple[str, ...] = CLASSES) -> Path:
    for name in names:
        pictures(folder / name, count)
    return folder


def sizes(root: Path, **options: object) -> tuple[int, ...]:
    loaded = data.load(root, size=4, validation=0, **options)
    assert loaded.classes == CLASSES
    parts = loaded.train, loaded.validation, loaded.test
    return tuple(0 if part is None else len(part) for part in parts)


def refusal(root: Path) -> str:
    with pytest.raises(UserError) as raised:
        data.load(root, size=4)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("TRN", "eval"),
        ("set_train", "set_test"),
        ("train_images", "val_images"),
        ("my-train", "my-val"),
        ("train2017", "val2017"),
        ("training_set", "test_set"),
        ("trainset", "testset"),
        ("TrainImages", "TestImages"),
        ("train", "dev"),
    ],
)
def test_names_of_parts(tmp_path, train, test):
    classes(tmp_path / train, 3)
    classes(tmp_path / test, 2)
    assert sizes(tmp_path) == (9, 0, 6)
    text = data.load(tmp_path, size=4).facts["layout"]
    assert f"{train}/ and {test}/" in text


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("x_trn", "x_dev", "x_eval")])
def test_three_parts(tmp_path, names):
    for count, name in zip((4, 2, 3), names, strict=True):
        classes(tmp_path / name, count)
    loaded = data.load(tmp_path, size=4)
    assert [len(loaded.train), len(loaded.validation), len(loaded.test)] == [12, 6, 9]


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("pets/train", "pets/test"),
        ("pets/pets/train", "pets/pets/test"),
        ("train/train", "test/test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("archive/train/images", "archive/test/images"),
    ],
)
def test_folders_around_the_parts(tmp_path, train, test):
    classes(tmp_path / train, 3)
    classes(tmp_path / test, 2)
    (tmp_path / "__MACOSX").mkdir()
    assert sizes(tmp_path) == (9, 0, 6)


@pytest.mark.parametrize("around", ["", "pets", "pets/pets", "train", "train/train", "test"])
def test_folders_around_the_classes(tmp_path, around):
    classes(tmp_path / around)
    assert sizes(tmp_path, test=0) == (30, 0, 0)


@pytest.mark.parametrize("name", ["train", "Train", "crash_test", "strain", "devon", "valley"])
def test_a_class_with_the_name_of_a_part(tmp_path, name):
    classes(tmp_path, 10, ("bus", "car", name))
    loaded = data.load(tmp_path, size=4)
    assert set(loaded.classes) == {"bus", "car", name}
    assert "3 class folders" in loaded.facts["layout"]


@pytest.mark.parametrize(
    ("flat", "nested"),
    [
        (("bus", "car", "test"), ()),
        (("bus", "car", "val"), ()),
        (("bus", "train", "test"), ()),
        (("bus", "car"), ("train",)),
        ((), ("train", "training", "test")),
        ((), ("a_train", "a_test", "b_train", "b_test")),
        ((), ("train", "test_images")),
        ((), ("train_1", "train_2")),
    ],
)
def test_what_may_mean_two_things_is_refused_with_the_names(tmp_path, flat, nested):
    for name in flat:
        pictures(tmp_path / name)
    for name in nested:
        classes(tmp_path / name)
    message = refusal(tmp_path)
    suspicious = [n for n in (*flat, *nested) if layout.part_of(n)]
    assert any(f"{name}/" in message for name in suspicious)
    assert "rename the folders" in message


def test_class_folders_beside_a_test_folder(tmp_path):
    classes(tmp_path, 3)
    classes(tmp_path / "test", 2)
    assert sizes(tmp_path) == (9, 0, 6)


def test_parts_in_each_class_folder(tmp_path):
    for name in CLASSES:
        pictures(tmp_path / name / "train", 3)
        pictures(tmp_path / name / "Test", 2)
    assert sizes(tmp_path) == (9, 0, 6)
    pictures(tmp_path / "van", 1)
    assert "may be parts" in refusal(tmp_path)


@pytest.mark.parametrize("inside", ["test", "test/test", "test/unknown"])
def test_a_test_folder_without_labels_is_not_used(tmp_path, inside):
    classes(tmp_path / "train")
    pictures(tmp_path / inside, 4)
    loaded = data.load(tmp_path, size=4)
    assert loaded.classes == CLASSES
    assert "not used: test/ (4 images without class folders)" in loaded.facts["layout"]
    parts = loaded.train, loaded.validation, loaded.test
    assert sum(len(part) for part in parts if part is not None) == 30


@pytest.mark.parametrize("name", ["seg_pred", "unlabelled", "extra"])
def test_other_folders_beside_the_parts_are_named(tmp_path, name):
    classes(tmp_path / "train", 3)
    classes(tmp_path / "test", 2)
    pictures(tmp_path / name, 5)
    assert sizes(tmp_path) == (9, 0, 6)
    assert f"not used: {name}/ (5 images)" in data.load(tmp_path, size=4).facts["layout"]


@pytest.mark.parametrize("name", ["café", "Ångström", "한국"])
def test_class_names_that_are_equal_in_unicode(tmp_path, name):
    composed, decomposed = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    classes(tmp_path / "x" / "train", 3, (composed, "te"))
    classes(tmp_path / "x" / "test", 2, (decomposed, "te"))
    loaded = data.load(tmp_path / "x", size=4)
    assert loaded.classes == tuple(sorted((composed, "te")))
    assert loaded.facts["counts"]["test"][composed] == 2
    classes(tmp_path / "y", 10, (composed, decomposed, "te"))
    merged = data.load(tmp_path / "y", size=4, test=0, validation=0)
    assert merged.facts["counts"]["train"][composed] == 20
    assert composed in merged.facts["layout"]


def test_output_folders_are_not_classes(tmp_path):
    classes(tmp_path)
    for name, file in (("runs/one", "run.json"), ("runs/two", "seeds.json"), ("s", "study.json")):
        pictures(tmp_path / name / "pictures", 3)
        (tmp_path / name / file).write_text("{}")
    assert discovery.is_own(tmp_path / "runs")
    assert sizes(tmp_path, test=0) == (30, 0, 0)
    pictures(tmp_path / "bus" / "run" / "checkpoints", 3)
    (tmp_path / "bus" / "run" / "run.json").write_text("{}")
    assert sizes(tmp_path, test=0) == (30, 0, 0)


@pytest.mark.parametrize("place", ["bus/loop", "bus/deep/loop", "loop"])
def test_links_in_a_circle_are_refused(tmp_path, place):
    classes(tmp_path)
    (tmp_path / "bus" / "deep").mkdir()
    (tmp_path / place).symlink_to(tmp_path)
    assert "loop" in refusal(tmp_path)


def test_class_folders_behind_links(tmp_path):
    classes(tmp_path / "store", 10, ("1", "2", "3"))
    (tmp_path / "x").mkdir()
    for number, name in zip("123", CLASSES, strict=True):
        (tmp_path / "x" / name).symlink_to(tmp_path / "store" / number)
    assert sizes(tmp_path / "x", test=0) == (30, 0, 0)


@pytest.mark.parametrize("test", ["folder", "parts"])
def test_a_test_part_elsewhere(tmp_path, test):
    classes(tmp_path / "x", 5)
    place = tmp_path / "y" / ("test" if test == "parts" else "")
    classes(place, 2, ("bus", "car"))
    if test == "parts":
        classes(tmp_path / "y" / "train", 4)
    loaded = data.load(tmp_path / "x", size=4, validation=0, test=tmp_path / "y")
    assert (len(loaded.train), len(loaded.test)) == (15, 4)
    assert loaded.facts["missing_classes"] == {"test": ["van"]}
    again = data.load(**loaded.provenance)
    assert (again.checksum, again.test.names) == (loaded.checksum, loaded.test.names)
    classes(tmp_path / "z", 2, ("bus", "tram"))
    with pytest.raises(UserError, match="'tram' is new"):
        data.load(tmp_path / "x", size=4, test=str(tmp_path / "z"))


def test_classes_of_a_model(tmp_path):
    classes(tmp_path, 4, ("van", "bus"))
    loaded = data.load(tmp_path, size=4, validation=0, test=0, classes=("van", "car", "bus"))
    assert loaded.classes == ("van", "car", "bus")
    assert loaded.facts["counts"]["train"] == {"van": 4, "car": 0, "bus": 4}
    assert all(
        name.startswith(loaded.classes[label])
        for name, label in zip(loaded.train.names, loaded.train.labels, strict=True)
    )
