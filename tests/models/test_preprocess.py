"""`reslab.load`: the names of the classes, and images as the model takes them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

import reslab
from reslab.core.errors import UserError
from reslab.models.preprocess import Preprocess
from reslab.runs.run import Run
from tests.helpers import tiny
from tests.helpers.cli import pictures


@pytest.fixture(scope="module")
def from_folder(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run on a folder of pictures, whose centre is cut out with a margin."""
    at = tmp_path_factory.mktemp("folder")
    data = pictures(at / "pictures", each=12)
    return reslab.train(tiny.NETWORK, data, epochs=1, batch=8, size=16, out=at / "run")


def photo(path: Path, size: tuple[int, int] = (90, 60)) -> Path:
    """Write a JPEG with an EXIF orientation."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (6, 9, 3)).astype("uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated
    small.resize(size).save(path, exif=exif)
    return path


@pytest.mark.core
def test_the_model_of_a_run_answers_like_predict(from_folder: Run, tmp_path: Path) -> None:
    files = [photo(tmp_path / "a.jpg"), photo(tmp_path / "b.jpg", (300, 200))]
    model = reslab.load(from_folder.path)
    assert model.classes == ("left", "middle", "right")
    batch = model.preprocess(files)
    assert (batch.shape, batch.dtype) == ((2, 16, 16, 3), np.uint8)
    results = reslab.predict(from_folder, files, top=3, engine="backend")
    for outputs in (model.predict(batch, verbose=0), model(batch)):
        for row, result in zip(keras.ops.convert_to_numpy(outputs), results, strict=True):
            for guess in result["predictions"]:
                assert row[model.classes.index(guess["class"])] == pytest.approx(
                    guess["probability"], abs=1e-5
                )


@pytest.mark.core
def test_images_of_the_data_are_unchanged(from_folder: Run, trained: Run) -> None:
    """What `preprocess` returns for a file, or for an array, is what the training saw."""
    for run in (from_folder, trained):
        data = reslab.data.load(**run.info["data"]["provenance"])
        model, split = reslab.load(run.path), data.train
        expected = split.images(np.arange(4))
        if run is from_folder:
            folder = Path(data.source)
            given: Any = [folder / name for name in split.names[:4]]
        else:  # arrays keep their edges
            given = expected
        np.testing.assert_array_equal(model.preprocess(given), expected)
        assert model.classes == data.classes


def test_every_kind_of_image(tmp_path: Path) -> None:
    preprocess = Preprocess((32, 24, 3), margin=True)
    file = photo(tmp_path / "a.jpg")
    one = preprocess(file)
    assert one.shape == (1, 32, 24, 3)
    with Image.open(file) as opened, file.open("rb") as stream:
        for same in (str(file), file.read_bytes(), io.BytesIO(file.read_bytes()), stream, opened):
            np.testing.assert_array_equal(preprocess(same), one)
        np.testing.assert_array_equal(
            preprocess([file, opened, file.read_bytes()]), np.repeat(one, 3, 0)
        )
        rotated = opened.transpose(Image.Transpose.ROTATE_270)
    pixels = np.asarray(rotated)
    np.testing.assert_array_equal(preprocess(pixels), one)
    np.testing.assert_array_equal(preprocess(np.stack([pixels] * 2)), np.repeat(one, 2, 0))
    opaque = np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], -1)
    np.testing.assert_array_equal(preprocess(opaque), one)
    assert preprocess([]).shape == (0, 32, 24, 3)
    grey = Preprocess((8, 8, 1), margin=False)
    square = np.arange(64, dtype="uint8").reshape(8, 8)
    for image in (square, square[..., None], square[None, ..., None]):
        np.testing.assert_array_equal(grey(image), square[None, ..., None])


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (b"no image", "the image cannot be read: not an image"),
        ([b"no image"], "image 0 cannot be read"),
        ("nowhere.png", "nowhere.png cannot be read: No such file"),
        (np.zeros((4, 4)), "float64; give values of 0 to 255 as uint8"),
        (np.zeros((4, 4, 2), "uint8"), r"shape \(4, 4, 2\); give \(height, width\)"),
        (np.zeros(4, "uint8"), "give .height, width"),
        ([3], "image 0 is a int; give a path"),
        (3, "the image is a int"),
    ],
)
def test_what_is_no_image_is_refused(image: Any, expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        Preprocess((8, 8, 3), margin=True)(image)


def test_a_model_that_reslab_did_not_train(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 1))
    keras.Model(inputs, keras.layers.Flatten()(inputs)).save(tmp_path / "a.keras")
    model = reslab.load(tmp_path / "a.keras")
    assert model.classes == ()
    with pytest.raises(UserError, match="that reslab did not train"):
        model.preprocess(np.zeros((4, 4), "uint8"))


@pytest.mark.core
def test_the_attributes_do_not_change_the_model(trained: Run, tmp_path: Path) -> None:
    """It is saved and cloned as without them."""
    model = reslab.load(trained.path)
    model.save(tmp_path / "again.keras")
    images = model.preprocess(np.zeros((8, 8), "uint8"))
    expected = keras.ops.convert_to_numpy(model(images))
    again = keras.saving.load_model(tmp_path / "again.keras")
    np.testing.assert_allclose(keras.ops.convert_to_numpy(again(images)), expected, atol=1e-6)
    assert not hasattr(keras.models.clone_model(model), "classes")
