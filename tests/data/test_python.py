"""Data sets that are Python objects: arrays, examples by number, streams."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reslab import data
from reslab.core.errors import UserError
from reslab.data import class_names, python

RNG = np.random.default_rng(0)
X = RNG.integers(2, 256, (30, 6, 6, 3)).astype(np.uint8)
Y = np.arange(30) % 3


class Examples:
    """A data set by number, as PyTorch has them."""

    def __init__(self, images: Any, labels: Any, classes: Any = None) -> None:
        self.images, self.labels = images, labels
        if classes:
            self.classes = classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Any:
        return self.images[i], self.labels[i]


def all_images(loaded: data.Data) -> np.ndarray:
    """The images in the order of the arrays that they came from."""
    parts = [p for p in (loaded.train, loaded.validation, loaded.test) if p is not None]
    whole = np.concatenate([part.images(slice(None)) for part in parts])
    return whole[np.lexsort(whole.reshape(len(whole), -1).T)]


def same(loaded: data.Data, images: np.ndarray = X) -> None:
    expected = images[np.lexsort(images.reshape(len(images), -1).T)]
    np.testing.assert_array_equal(all_images(loaded), expected)


def test_arrays_are_divided_into_three_parts():
    loaded = data.load((X, Y))
    assert (loaded.name, loaded.source, loaded.task) == ("arrays", "Python", "classification")
    assert loaded.classes == ("0", "1", "2")
    assert loaded.image_shape == (6, 6, 3)
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [21, 3, 6]
    same(loaded)
    again = python.again((X, Y), loaded.provenance, loaded.classes)
    assert again.checksum == loaded.checksum
    np.testing.assert_array_equal(again.test.labels, loaded.test.labels)
    changed = X.copy()
    changed[3, 0, 0, 0] ^= 1
    assert data.load((changed, Y)).checksum != loaded.checksum
    assert data.load((X, (Y + 1) % 3)).checksum != loaded.checksum


def test_parts_and_names_of_classes():
    loaded = data.load(
        {"train": (X[:20], Y[:20]), "val": (X[20:25], Y[20:25]), "test": (X[25:], Y[25:]),
         "classes": ["a", "b", "c"]}
    )  # fmt: skip
    assert loaded.classes == ("a", "b", "c")
    assert [len(p) for p in (loaded.train, loaded.validation, loaded.test)] == [20, 5, 5]
    np.testing.assert_array_equal(loaded.test.labels, Y[25:])


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (X.astype("float32") / 255, "values of 0 to 1 were multiplied by 255"),
        (X.astype("float64"), "values are 0 to 255"),
        (X.astype("int64"), "values are 0 to 255"),
        (X.transpose(0, 3, 1, 2), "NCHW"),
        (X.transpose(0, 3, 1, 2).astype("float32") / 255, "NCHW"),
    ],
)
def test_types_and_layouts_of_arrays(images, said):
    loaded = data.load((images, Y))
    same(loaded)
    assert said in loaded.facts["python"]


def test_one_rule_for_the_pixels_of_all_parts():
    dark, bright = X[:15] // 255, X[15:]
    loaded = data.load(
        {"train": (dark.astype("f4"), Y[:15]), "test": (bright.astype("f4"), Y[15:])}
    )
    same(loaded, np.concatenate([dark, bright]))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ((X.astype("f4") / 128 - 1, Y), "float32 from -0.98.* to .*: give 0 to 255, or 0 to 1"),
        ((X.astype("i4") * 2, Y), "int32 from 4 to 510"),
        ((np.where(X > 250, np.nan, X), Y), "from nan"),
        ((X[:, :, :, :2], Y), "an image has the shape"),
        ((X[:, :3, :3], Y), "can be NHWC or NCHW"),
        ((X, Y[:-1]), "30 images and 29 labels"),
        ((X, Y + 0.5), "a label is 0.5"),
        ((X, Y * 0), "have one class"),
        ((X, [""] * 30), "a label is an empty text"),
        ((X, np.stack([Y, Y], 1)), "rows of numbers: give 0 or 1"),
        ((X, None), "labels are a NoneType"),
        (X, "an array without labels"),
        ([], "has no images"),
        (None, "a NoneType is not a data set"),
        (7, "a int is not a data set"),
        ({"test": (X, Y)}, "no training part"),
        ({"train": (X, Y), "extra": (X, Y)}, "have the parts 'train', 'extra'"),
        (list(X), "without a label"),
        ({"train": (X, Y), "classes": ["a"]}, "a label is 1, and there are 1 classes"),
        ({"train": (X, ["a", "b", "d"] * 10), "classes": ["a", "b", "c"]}, "no class 'd'"),
        ([(object(), 1)], "image 0 is a object"),
    ],
)
def test_what_is_refused(source, message):
    with pytest.raises(UserError, match=message) as error:
        data.load(source)
    assert "\n" not in str(error.value)


def test_labels_by_name_and_as_numbers_from_one():
    names = np.array(["cat", "dog", "owl"])[Y]
    assert data.load((X, names)).classes == ("cat", "dog", "owl")
    assert data.load((X, list(names))).checksum == data.load((X, names)).checksum
    loaded = data.load((X, Y[:, None] + 9))
    assert loaded.classes == ("9", "10", "11")


def test_names_of_the_data_set_are_not_those_of_the_model():
    """Numbers are positions in the names of the data set, whatever a model calls its classes."""
    model = ["cat", "dog", "owl", "rat"]
    given = data.load({"train": (X, Y), "classes": ["owl", "cat", "dog"]}, classes=model)
    assert given.classes == ("owl", "cat", "dog")
    np.testing.assert_array_equal(given.train.labels, data.load((X, Y)).train.labels)
    matched = class_names.match(given, model, "the model")
    assert [matched.classes[i] for i in matched.test.labels] == [
        ("owl", "cat", "dog")[i] for i in given.test.labels
    ]
    one = data.load({"test": (X, Y * 0), "classes": ["owl"]}, classes=model, test=0, validation=0)
    assert (one.classes, len(one.train)) == (("owl",), 30)
    assert data.load((X, Y), classes=model, test=0, validation=0).classes == tuple(model)


def test_one_hot_rows_and_several_labels():
    one_hot = np.eye(3)[Y]
    loaded = data.load((X, one_hot))
    assert loaded.task == "classification"
    assert "one-hot" in loaded.facts["python"]
    several = one_hot.copy()
    several[0] = [1, 1, 0]
    several[1] = 0
    loaded = data.load((X, several), validation=0, test=0)
    assert loaded.task == "multilabel"
    np.testing.assert_array_equal(loaded.train.labels, several)
    lists = [np.array(["0", "1", "2"])[row == 1].tolist() for row in several]
    assert data.load((X, lists), validation=0, test=0).checksum == loaded.checksum
    sets = data.load((X, [set(np.flatnonzero(row).tolist()) for row in several]))
    assert sets.task == "multilabel"


def test_examples_by_number_with_names_of_classes():
    loaded = data.load(Examples(X, Y, ["a", "b", "c"]))
    assert (loaded.name, loaded.classes) == ("examples", ("a", "b", "c"))
    same(loaded)


def test_pictures_of_different_sizes_are_scaled():
    pictures = [Image.new("RGB", (6 + i, 9), (i, 2 * i, 0)) for i in range(30)]
    loaded = data.load(list(zip(pictures, Y.tolist(), strict=True)), size=7)
    assert loaded.image_shape == (7, 7, 3)
    loaded = data.load((pictures, Y), folder_size=5)
    assert loaded.image_shape == (5, 5, 3)
    assert "different sizes" in loaded.facts["python"]


def test_files_and_bytes(tmp_path):
    files, contents = [], []
    for i, image in enumerate(X):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(image).save(files[-1])
        contents.append(files[-1].read_bytes())
    same(data.load((files, Y)))
    same(data.load((contents, Y)))
    files[3] = tmp_path / "none.png"
    with pytest.raises(UserError, match=r"none.png cannot be read"):
        data.load((files, Y))


def test_a_stream_is_copied_within_a_limit(monkeypatch):
    def stream() -> Iterator[dict[str, Any]]:
        for image, label in zip(X, Y, strict=True):
            yield {"image": image, "label": int(label)}

    same(data.load(stream()))
    monkeypatch.setattr(python, "MOST_BYTES", 1000)
    with pytest.raises(UserError, match="write the images as files"):
        data.load(stream())


def test_random_images_are_refused():
    class Random(Examples):
        def __getitem__(self, i: int) -> Any:
            return RNG.integers(0, 255, (6, 6, 3)).astype(np.uint8), self.labels[i]

    with pytest.raises(UserError, match="another image 0 each time: remove its random transforms"):
        data.load(Random(X, Y))


def test_options_of_files_are_refused():
    with pytest.raises(UserError, match="are for files"):
        data.load((X, Y), group="a")


@pytest.mark.core
def test_data_sets_of_the_libraries():
    """PyTorch's, Keras's and TensorFlow's data sets, where they are installed."""
    import keras

    class Batches(keras.utils.PyDataset):
        def __len__(self) -> int:
            return 3

        def __getitem__(self, i: int) -> Any:
            return X[10 * i : 10 * i + 10], Y[10 * i : 10 * i + 10]

    same(data.load(Batches()))
    tensor = keras.ops.convert_to_tensor(X)
    same(data.load((tensor, keras.ops.convert_to_tensor(Y))))
    if keras.backend.backend() == "torch":
        import torch

        pairs = torch.utils.data.TensorDataset(
            torch.tensor(X).permute(0, 3, 1, 2).float() / 255, torch.tensor(Y)
        )
        same(data.load(pairs))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        examples = tf.data.Dataset.from_tensor_slices((X, Y))
        same(data.load(examples))
        same(data.load(examples.batch(7)))


def test_images_of_predict_by_file_object(tmp_path: Path):
    from reslab.evaluation.inputs import inputs

    Image.fromarray(X[0]).save(tmp_path / "a.png")
    raw = (tmp_path / "a.png").read_bytes()
    given = [str(tmp_path / "a.png"), raw, io.BytesIO(raw), Image.fromarray(X[0]), X[0]]
    given += [X[0].astype("f4") / 255, X[0].transpose(2, 0, 1)]
    names = ["a.png", *(f"image {i}" for i in range(1, 7))]
    for image, name in zip(inputs(given), names, strict=True):
        assert image.name.endswith(name)
        np.testing.assert_array_equal(np.asarray(Image.open(image.open())), X[0])
    assert [i.name for i in inputs(X[:3])] == ["image 0", "image 1", "image 2"]
    assert len(inputs(Examples(X, Y))) == 30
    assert len(inputs(image for image in X[:4])) == 4


@pytest.mark.parametrize(
    "labels", [Y[:5], Y[:5, None], np.eye(3)[Y[:5]], list(Y[:5]), ["a", "b", "a", "b", "c"]]
)
def test_labels_beside_the_images_of_predict_are_no_images(labels):
    """As training and evaluation take them."""
    from reslab.evaluation.inputs import inputs

    assert len(inputs((X[:5], labels))) == 5
    assert len(inputs((list(X[:5]), labels))) == 5


def test_a_pair_of_images_or_batches_is_several_images():
    from reslab.evaluation.inputs import inputs

    assert len(inputs((X[0], X[1]))) == 2
    assert len(inputs((X[:3], X[:3]))) == 6


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "image 0 is None"),
        (3, "image 0 is a int"),
        ([], "no images were given"),
        (io.StringIO("x"), "open it in binary mode"),
        (b"no picture", "image 0 cannot be read"),
        ([X[0], {"a": 1}], "image 1 is a dict"),
        ("http://example.org/a.png", "is not encrypted"),
        ("https://127.0.0.1:9/a.png", "cannot read https://127.0.0.1:9/a.png: no connection"),
    ],
)
def test_images_of_predict_that_are_refused(images, message):
    from reslab.evaluation.inputs import inputs

    with pytest.raises(UserError, match=message):
        [image.check() for image in inputs(images)]
