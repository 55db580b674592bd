from __future__ import annotations

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from reslab import data
from reslab.core.errors import UserError
from reslab.data.sources import fonts, glyphs

# sha256 over the images of seed 0 as rendered by Pillow 13.0.0 with the pinned fonts.
REFERENCE = "324c455c6962bc4148f942c67b121992ad86b96a78477c0cea3fc894ba4ee5c9"


@pytest.fixture(scope="module")
def loaded():
    return data.load("glyphs")


def test_bit_for_bit_as_published(loaded):
    assert loaded.facts["rendered_by"]["pillow"] == "13.0.0"
    assert loaded.checksum == REFERENCE


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
    assert len({f.package for f in fonts.TRAIN + fonts.VALIDATION + fonts.TEST}) == 40


def test_letters_stand_on_a_line_and_keep_their_size():
    family = next(f for f in fonts.TRAIN if f.name == "open-sans")
    face = glyphs.Face(fonts.find(family)["OpenSans[wdth,wght].ttf@400"], "x@400")

    def rows(character: str) -> tuple[int, int]:
        ink = np.flatnonzero(face.image(character, 0, 1, 0, 0).max(1) > 127)
        return int(ink[0]), int(ink[-1])

    assert rows("H")[1] - rows("H")[0] == pytest.approx(14, abs=1)
    assert abs(rows("x")[1] - rows("H")[1]) <= 1  # one base line
    assert rows("x")[0] > rows("H")[0] + 2  # a small letter is smaller
    assert rows("p")[1] > rows("x")[1] + 2  # and p goes below
    assert rows("o")[0] > rows("O")[0] + 2


def test_turning_and_moving():
    family = next(f for f in fonts.TRAIN if f.name == "roboto")
    face = glyphs.Face(fonts.find(family)["Roboto[wdth,wght].ttf@400"], "x@400")

    def centre(**moved: float) -> np.ndarray:
        given = {"angle": 0.0, "width": 1.0, "right": 0.0, "down": 0.0} | moved
        image = face.image("H", **given).astype(float)
        return np.array([(image.sum(1 - a) * np.arange(28)).sum() / image.sum() for a in (0, 1)])

    np.testing.assert_allclose(centre(right=2, down=1) - centre(), [1, 2], atol=0.1)
    wide = face.image("H", 0, 1.2, 0, 0).max(0) > 127
    narrow = face.image("H", 0, 0.8, 0, 0).max(0) > 127
    assert wide.sum() > narrow.sum() + 2
    # A positive angle turns with the clock: the stroke of an I leans to the right at its top.
    turned = face.image("I", 8, 1, 0, 0)
    assert turned[6].argmax() > turned[19].argmax()


def test_nothing_is_cut_off():
    for family in fonts.TRAIN + fonts.VALIDATION + fonts.TEST:
        images = glyphs.render(family, 2, 0)
        border = np.concatenate(
            [images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]], axis=1
        )
        touching = (border.max(1) > 60).mean()
        assert touching < 0.02, family.name


def test_the_seed_draws_training_but_not_the_test(loaded, tmp_path):
    family = fonts.TRAIN[0]
    one, again, other = (glyphs.render(family, 2, seed) for seed in (0, 0, 1))
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


def test_a_damaged_cache_is_rendered_again(loaded, tmp_path, monkeypatch):
    small = {"train": fonts.TRAIN[:1], "validation": fonts.VALIDATION[:1], "test": fonts.TEST[:1]}
    monkeypatch.setattr(glyphs, "_FAMILIES", small)
    first = data.load("glyphs", cache=tmp_path)
    (path,) = (tmp_path / "glyphs").iterdir()  # and nothing else was left behind
    whole = path.read_bytes()
    swapped = bytearray(whole)
    swapped[len(whole) // 2] ^= 1
    for damaged in (b"", whole[:1000], whole[:-1], bytes(swapped), b"no zip at all"):
        path.write_bytes(damaged)
        assert data.load("glyphs", cache=tmp_path).checksum == first.checksum
        assert data.load("glyphs", cache=tmp_path).checksum == first.checksum


def test_a_cache_that_cannot_be_written_is_no_failure(tmp_path, monkeypatch):
    small = {"train": fonts.TRAIN[:1], "validation": fonts.VALIDATION[:1], "test": fonts.TEST[:1]}
    monkeypatch.setattr(glyphs, "_FAMILIES", small)
    (tmp_path / "file").write_text("in the way")
    assert len(data.load("glyphs", cache=tmp_path / "file").train) == 62 * 11


def test_missing_fonts_say_what_to_install(monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n: None if n == "fontpkg_bitter" else real(n)
    )
    with pytest.raises(UserError, match="fontpkg-bitter, which is not installed"):
        data.load("glyphs")


def test_importing_data_loads_nothing_heavy():
    code = (
        "import sys, reslab.data as d; d.load;"
        "print([m for m in ('keras', 'torch', 'grain', 'PIL', 'pooch', 'rich', 'jax')"
        " if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
