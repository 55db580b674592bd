from __future__ import annotations

import hashlib
import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from reslab import data
from reslab.core.errors import UserError
from reslab.data.sources import glyphs
from reslab.evaluation import recorded_data
from reslab.spec.catalogue import CHARACTERS
from tests.helpers.runs import make_run

MASKS_SHA256 = "15b9386cba53223d28de8546793ce7dd26b1da4cce63f2eb61e5a2fa2ecd20f9"
# Of version 2 of the images, with seed 0.
CHECKSUM = "1bd3bdb6c9ec9897270c001ae4dbb4f0654c9fed3bcde5d65dddcb1ecc326e11"

SCRIPT = Path(__file__).parents[3] / "scripts/draw_glyphs.py"


@pytest.fixture(scope="module")
def loaded():
    return data.load("glyphs")


@pytest.fixture(scope="module")
def faces():
    return glyphs.faces(glyphs.MASKS.read_bytes())


def draw(face: glyphs.Face, character: str, angle=0.0, stretch=1.0, right=0.0, down=0.0):
    """One image."""
    numbers = (np.array([float(number)]) for number in (angle, stretch, right, down))
    return face.draw(np.array([CHARACTERS.index(character)]), *numbers)[0]


def test_the_masks_are_those_of_the_checksum():
    content = glyphs.MASKS.read_bytes()
    assert hashlib.sha256(content).hexdigest() == MASKS_SHA256
    assert len(content) < 4_000_000
    parts = glyphs.faces(content)
    all_faces = [face for named in parts.values() for family in named.values() for face in family]
    assert len(all_faces) == 98
    assert all(len(face.masks) == 62 for face in all_faces)
    assert all(mask[[0, -1]].any(1).all() for face in all_faces for mask in face.masks)  # cropped


def test_every_font_has_its_licence():
    text = glyphs.MASKS.with_name("glyphs_licences.txt").read_text(encoding="utf-8")
    for part in glyphs.families(glyphs.MASKS.read_bytes()).values():
        for family in part:
            assert f"\n\n{family}\nCopyright" in text
    assert text.count("SIL OPEN FONT LICENSE Version 1.1") == 1
    assert text.count("Apache License\n") == 1


@pytest.mark.skipif(
    importlib.util.find_spec("fontpkg_bitter") is None, reason="needs scripts/install glyphs"
)
def test_the_script_draws_the_same_masks():
    script = runpy.run_path(str(SCRIPT))
    licences = glyphs.MASKS.with_name("glyphs_licences.txt")
    assert script["licences"]() == licences.read_text(encoding="utf-8")
    drawn = script["draw"]()
    with np.load(glyphs.MASKS, allow_pickle=False) as file:
        assert set(file) == set(drawn)
        for name, array in drawn.items():
            assert array.dtype == file[name].dtype
            np.testing.assert_array_equal(array, file[name])


def test_the_images_are_those_of_version_2(loaded):
    assert loaded.facts["version"] == 2
    assert loaded.checksum == CHECKSUM


def test_shape_and_classes(loaded):
    assert loaded.image_shape == (28, 28, 1)
    assert "".join(loaded.classes) == (
        "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    )
    for split, n in ((loaded.train, 297), (loaded.validation, 48), (loaded.test, 70)):
        assert set(np.bincount(split.labels)) == {n}
        images = split.images(np.arange(len(split)))
        assert images.dtype == np.uint8
        assert images.max() == 255  # white
        assert np.median(images) == 0  # on black
        assert (images.reshape(len(images), -1).max(1) > 100).all()  # none is blank


def test_no_family_is_in_two_parts(loaded):
    families = loaded.facts["families"]
    names = [name for part in families.values() for name in part]
    assert len(names) == len(set(names)) == 40
    roots = {part: {n.split("-")[0] for n in all_} for part, all_ in families.items()}
    assert not roots["train"] & roots["test"]  # nor siblings, such as PT Sans and PT Serif
    assert not roots["train"] & roots["validation"]


def test_letters_stand_on_a_line_and_keep_their_size(faces):
    face = faces["train"]["open-sans"][0]
    assert face.name == "OpenSans[wdth,wght].ttf@400"

    def rows(character: str) -> tuple[int, int]:
        ink = np.flatnonzero(draw(face, character).max(1) > 127)
        return int(ink[0]), int(ink[-1])

    assert rows("H")[1] - rows("H")[0] == pytest.approx(14, abs=1)
    assert abs(rows("x")[1] - rows("H")[1]) <= 1  # one base line
    assert rows("x")[0] > rows("H")[0] + 2  # a small letter is smaller
    assert rows("p")[1] > rows("x")[1] + 2  # and p goes below
    assert rows("o")[0] > rows("O")[0] + 2


def test_rotations_shifts_and_widths(faces):
    face = faces["train"]["roboto"][0]

    def centre(**how: float) -> np.ndarray:
        image = draw(face, "H", **how).astype(float)
        return np.array([(image.sum(1 - a) * np.arange(28)).sum() / image.sum() for a in (0, 1)])

    np.testing.assert_allclose(centre()[1], 13.5, atol=0.05)
    np.testing.assert_allclose(centre(right=2, down=1) - centre(), [1, 2], atol=0.01)
    np.testing.assert_allclose(centre(right=0.3, down=-0.7) - centre(), [-0.7, 0.3], atol=0.02)
    wide = draw(face, "H", stretch=1.2).max(0) > 127
    narrow = draw(face, "H", stretch=0.8).max(0) > 127
    assert wide.sum() > narrow.sum() + 2
    # A positive angle is clockwise: the stroke of an I leans to the right at its top.
    rotated = draw(face, "I", angle=8)
    assert rotated[6].argmax() > rotated[19].argmax()


def test_a_pixel_is_the_mean_of_its_part_of_the_mask(faces):
    """Without rotation and stretch, where a pixel is exactly 6x6 pixels of the mask."""
    rng = np.random.default_rng(0)
    for family in list(faces["train"].values())[:5]:
        face = family[0]
        for n in rng.integers(0, 62, 8):
            mask = face.masks[n].astype(float) * 17
            if mask.shape[1] > 135 or mask.shape[1] % 2:
                continue  # narrowed, or half a pixel off the canvas's grid
            canvas = np.zeros((168, 168))
            left = 84 - mask.shape[1] // 2
            canvas[face.tops[n] : face.tops[n] + len(mask), left : left + mask.shape[1]] = mask
            expected = canvas.reshape(28, 6, 28, 6).mean((1, 3))
            assert abs(draw(face, CHARACTERS[n]) - expected).max() <= 0.51


def test_rotated_images_are_smooth(faces):
    """Against Pillow's bicubic rotation of the mask at full size."""
    from PIL import Image

    face = faces["train"]["open-sans"][0]
    for character in "A8ge":
        n = CHARACTERS.index(character)
        mask = face.masks[n] * np.uint8(17)
        left = 84 - mask.shape[1] // 2
        canvas = np.zeros((168, 168), np.uint8)
        canvas[face.tops[n] : face.tops[n] + len(mask), left : left + mask.shape[1]] = mask
        rotated = Image.fromarray(canvas).rotate(-7, Image.Resampling.BICUBIC)
        expected = np.asarray(rotated, float).reshape(28, 6, 28, 6).mean((1, 3))
        shift = mask.shape[1] % 2 / 2 / 6  # of a mask that is half a pixel off the canvas's grid
        image = draw(face, character, angle=7, right=shift)
        assert np.sqrt(((image - expected) ** 2).mean()) < 2


def test_nothing_is_cut_off(faces):
    for named in faces.values():
        for name, family in named.items():
            images = glyphs.draw_family(family, name, 2, 0)
            border = np.concatenate(
                [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1
            )
            touching = (border.max(1) > 60).mean()
            assert touching < 0.02, name


def test_the_seed_draws_training_but_not_the_test(loaded, faces, tmp_path):
    family = faces["train"]["lobster"]
    one, again, other = (glyphs.draw_family(family, "lobster", 2, seed) for seed in (0, 0, 1))
    assert (one == again).all()
    assert (one != other).any()
    other_seed = data.load("glyphs", seed=1, cache=tmp_path)
    same = loaded.test.images(np.arange(len(loaded.test)))
    assert (other_seed.test.images(np.arange(len(loaded.test))) == same).all()
    assert other_seed.checksum != loaded.checksum


def test_without_validation_its_families_are_trained_on(loaded):
    everything = data.load("glyphs", validation=0)
    assert everything.validation is None
    assert len(everything.train) == len(loaded.train) + len(loaded.validation)
    assert everything.checksum == loaded.checksum


@pytest.fixture
def small(monkeypatch):
    """One image of each character and family, which is fast to draw."""
    monkeypatch.setattr(glyphs, "_EACH", {"train": 1, "validation": 1, "test": 1})


@pytest.mark.usefixtures("small")
def test_a_run_on_the_old_version_is_refused(tmp_path):
    run = make_run(tmp_path / "run", "resnet20", "glyphs", CHARACTERS)  # as version 1 recorded it
    assert "version" not in run.info["data"]["facts"]
    with pytest.raises(UserError, match="on version 1 of glyphs, but this reslab has version 2"):
        recorded_data.reload(run)


@pytest.mark.usefixtures("small")
def test_a_damaged_cache_is_drawn_again(tmp_path):
    first = data.load("glyphs", cache=tmp_path)
    (path,) = (tmp_path / "glyphs").iterdir()  # and nothing else was left behind
    whole = path.read_bytes()
    swapped = bytearray(whole)
    swapped[len(whole) // 2] ^= 1
    for damaged in (b"", whole[:1000], whole[:-1], bytes(swapped), b"no zip at all"):
        path.write_bytes(damaged)
        assert data.load("glyphs", cache=tmp_path).checksum == first.checksum
        assert data.load("glyphs", cache=tmp_path).checksum == first.checksum


@pytest.mark.usefixtures("small")
def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert len(data.load("glyphs", cache=tmp_path / "file").train) == 62 * 27


def test_importing_data_loads_nothing_heavy():
    code = (
        "import sys, reslab.data as d; d.load;"
        "print([m for m in ('keras', 'torch', 'grain', 'PIL', 'pooch', 'rich', 'jax')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
