"""One scale for all pictures of a data set that have more than 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reslab import data
from reslab.core.errors import UserError
from reslab.data.notes import notes
from reslab.data.scale import FLOATS, INTEGERS, GreyScale, Values, choose
from reslab.models.preprocess import Preprocess

RAMP = np.linspace(0, 1, 32 * 32).reshape(32, 32)


def folder(root: Path, pictures: list[np.ndarray], suffix: str = ".tif") -> Path:
    for i, name in enumerate("ab"):
        (root / name).mkdir(parents=True)
        for j in range(6):
            array = pictures[(2 * j + i) % len(pictures)]
            Image.fromarray(np.roll(array, i + j)).save(root / name / f"{j}{suffix}")
    return root


@pytest.mark.parametrize(
    ("array", "suffix", "scale"),
    [
        ((RAMP * 4095).astype("u2"), ".png", GreyScale(INTEGERS, 0, 4095)),
        ((RAMP * 1000).astype("u2"), ".tif", GreyScale(INTEGERS, 0, 1023)),
        ((RAMP * 60000).astype("u2"), ".png", GreyScale(INTEGERS, 0, 65535)),
        ((RAMP * 200).astype("i4"), ".tif", GreyScale(INTEGERS, 0, 255)),
        (RAMP.astype("f4"), ".tif", GreyScale(FLOATS, 0, 1)),
        ((RAMP * 2 - 1).astype("f4"), ".tif", GreyScale(FLOATS, -1, 1)),
        ((RAMP * 255).astype("f4"), ".tif", GreyScale(FLOATS, 0, 255)),
        ((RAMP * 4095).astype("f4"), ".tif", GreyScale(FLOATS, 0, 4095)),
    ],
)
def test_the_scale_is_that_of_the_data_set(tmp_path, array, suffix, scale):
    dark = (array * 0).astype(array.dtype)  # on its own it would have another scale
    root = folder(tmp_path / "x", [array, dark], suffix)
    loaded = data.load(root, size=32, margin=False, test=0, validation=0)
    assert GreyScale.of(loaded.facts["scale"]) == scale
    assert any(scale.text in note for note in notes(loaded.facts))
    names = list(loaded.train.names)
    for name in names:
        stored = np.asarray(Image.open(root / name)).astype(float)
        expected = (stored - scale.low) * 255 / (scale.high - scale.low)
        actual = loaded.train.images([names.index(name)])[0, ..., 0]
        np.testing.assert_allclose(actual, expected, atol=0.51)
    assert data.load(**loaded.provenance).facts["scale"] == loaded.facts["scale"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            [RAMP.astype("f4"), (RAMP * 900).astype("u2")],
            "integers of more than 8 bits, and others",
        ),
        ([(RAMP * 2 - 1).astype("f4"), (RAMP * 300).astype("f4")], "grey values from -1 to 300"),
        ([(RAMP * 3000 - 1000).astype("f4")], "-1000 to 2000, are not in"),
        ([(RAMP * 2**20).astype("i4")], "are not in 0..65535"),
        ([np.where(RAMP > 0.5, np.inf, 0).astype("f4")], "not finite"),
    ],
)
def test_values_that_no_scale_fits_are_refused(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message) as raised:
        data.load(folder(tmp_path / "x", arrays), size=8)
    assert "\n" not in str(raised.value)


def test_a_given_scale_is_never_exceeded(tmp_path):
    root = folder(tmp_path / "x", [(RAMP * 4095).astype("u2")])
    scale = {"kind": INTEGERS, "low": 0, "high": 65535}
    loaded = data.load(root, size=8, scale=scale)
    assert loaded.facts["scale"] == scale
    assert loaded.train.images(np.arange(2)).max() <= 16
    assert data.load(**loaded.provenance).facts["scale"] == scale
    with pytest.raises(UserError, match="not on the scale of the data: integers from 0 to 1023"):
        data.load(root, size=8, scale={**scale, "high": 1023})
    for broken in ({}, {**scale, "high": -5}, {**scale, "kind": "x"}, {**scale, "low": "a"}):
        with pytest.raises(UserError, match="damaged"):
            data.load(root, size=8, scale=broken)


def test_the_preprocessing_of_a_model_has_the_scale_of_its_training(tmp_path):
    array = (RAMP * 4095).astype("u2")
    Image.fromarray(array).save(tmp_path / "x.png")
    card = {"image_shape": [32, 32, 1], "view": None}
    scaled = Preprocess.of_card({**card, "scale": GreyScale(INTEGERS, 0, 4095).stored()})
    expected = np.rint(array * (255 / 4095))
    for image in (tmp_path / "x.png", (tmp_path / "x.png").read_bytes(), Image.fromarray(array)):
        assert np.array_equal(scaled(image)[0, ..., 0], expected)
    assert Preprocess.of_card(card)(tmp_path / "x.png").max() == 16  # of 16 bits
    Image.fromarray(RAMP.astype("f4")).save(tmp_path / "x.tif")
    with pytest.raises(UserError, match="floats"):
        Preprocess.of_card(card)(tmp_path / "x.tif")
    with pytest.raises(UserError, match="not on the scale"):
        scaled(tmp_path / "x.tif")


def test_pictures_of_8_bits_have_no_scale(tmp_path):
    root = folder(tmp_path / "x", [(RAMP * 255).astype("u1")], ".png")
    assert "scale" not in data.load(root, size=8).facts
    assert choose(["", ""]) is None
    assert Values.parse(str(Values(FLOATS, -0.25, 1e-7))) == Values(FLOATS, -0.25, 1e-7)
