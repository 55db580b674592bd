from __future__ import annotations

import numpy as np
import pytest

from reslab.core.errors import UserError
from reslab.core.rng import Stream
from reslab.data import augment
from reslab.data.randaugment import rand_augment

RNG = np.random.default_rng(0)


def apply(text: str, images: np.ndarray, *key: int) -> np.ndarray:
    return augment.parse(text)(images.copy(), Stream(*key or (0,)))


@pytest.mark.parametrize(
    ("text", "name", "args"),
    [
        ("flip", "flip", ()),
        ("pad-crop(4)", "pad-crop", (4,)),
        (" scale-crop( 256, 480 ) ", "scale-crop", (256, 480)),
        ("shift(0.1)", "shift", (0.1,)),
        ("rand-augment(2,9)", "rand-augment", (2, 9)),
    ],
)
def test_parsing(text, name, args):
    parsed = augment.parse(text)
    assert (parsed.name, parsed.args) == (name, args)
    assert augment.parse(str(parsed)) == parsed
    assert augment.parse(parsed) is parsed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("flop", "no augmentation 'flop'; did you mean 'flip'"),
        ("padcrop(4)", "did you mean 'pad-crop'"),
        ("pad-crop", r"write it as pad-crop\(4\)"),
        ("pad-crop(4,4)", "write it as"),
        ("pad-crop(1.5)", "write it as"),
        ("pad-crop(-1)", "write it as"),
        ("pad-crop(four)", "write it as"),
        ("flip(1)", "write it as flip"),
        ("scale-crop(480,256)", "write it as"),
        ("shift(nan)", "write it as"),
        ("Flip", "not of the form"),
        ("flip()x", "not of the form"),
        ("__import__('os')", "not of the form"),
    ],
)
def test_what_makes_no_sense_is_refused(text, says):
    with pytest.raises(UserError, match=says):
        augment.parse(text)


def test_every_usage_parses():
    for name, usage in augment.names().items():
        assert augment.parse(usage.split(", ")[0]).name == name


def test_only_one_view():
    with pytest.raises(UserError, match="both choose the view"):
        augment.by_stage(["area-crop(0.5)", "scale-crop(256,480)"])


def test_flip_mirrors_about_half_of_the_images():
    images = RNG.normal(size=(400, 3, 4, 2)).astype(np.float32)
    out = apply("flip", images)
    mirrored = (out == images[:, :, ::-1]).all((1, 2, 3))
    kept = (out == images).all((1, 2, 3))
    assert (mirrored ^ kept).all()
    assert 160 < mirrored.sum() < 240


def test_pad_crop_against_a_slow_reference():
    images = RNG.normal(size=(300, 7, 9, 2)).astype(np.float32)
    out = apply("pad-crop(2)", images, 5)
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    offsets = set()
    for i in range(300):
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if (padded[i, y : y + 7, x : x + 9] == out[i]).all()
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) == 25  # each image its own, every place possible
    assert (apply("pad-crop(0)", images) == images).all()


def test_padding_wider_than_the_image_leaves_it_or_nothing():
    images = np.ones((400, 3, 2, 1), np.float32)
    seen = {image.tobytes() for image in apply("pad-crop(5)", images)}
    # 5 shifts of 3 rows and 3 of 2 columns leave something, all others nothing
    assert len(seen) == 5 * 3 + 1
    assert np.zeros((3, 2, 1), np.float32).tobytes() in seen


@pytest.mark.parametrize("text", ["rotate(30)", "shift(0.3)", "erase(1)", "rand-augment(2,9)"])
def test_draws_differ_between_images_and_repeat_with_the_stream(text):
    one = RNG.uniform(0, 255, (1, 16, 16, 3)).astype(np.float32)
    images = np.repeat(one, 24, 0)
    out = apply(text, images, 1)
    assert out.shape == images.shape
    assert out.dtype == np.float32
    assert len({image.tobytes() for image in out}) > 12
    assert (out == apply(text, images, 1)).all()
    assert (out != apply(text, images, 2)).any()


def test_rotation_and_shift_stay_within_their_bounds():
    images = np.zeros((64, 33, 33, 1), np.float32)
    images[:, 16, 28] = 255  # 12 pixels to the right of the centre
    for image in apply("rotate(20)", images):
        y, x = np.unravel_index(image[..., 0].argmax(), (33, 33))
        assert abs(np.degrees(np.arctan2(y - 16, x - 16))) < 24
    places = [np.unravel_index(i[..., 0].argmax(), (33, 33)) for i in apply("shift(0.1)", images)]
    moves = np.array(places) - [16, 28]
    assert np.abs(moves).max() <= 4
    assert len(np.unique(moves, axis=0)) > 10
    assert apply("rotate(0)", images) == pytest.approx(images, abs=0.01)


def test_erase_sets_a_rectangle_to_the_mean():
    images = np.ones((200, 20, 20, 1), np.float32)
    out = apply("erase(0.5)", images)
    gone = (out == 0).mean((1, 2, 3))
    assert 60 < (gone > 0).sum() < 140
    assert gone.max() <= 0.45
    assert set(np.unique(out)) == {0, 1}


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment(channels):
    images = RNG.integers(0, 256, (60, 24, 24, channels)).astype(np.float32)
    out = rand_augment(images, Stream(1), 3, 10)
    assert out.shape == images.shape
    assert out.min() >= 0
    assert out.max() <= 255
    changed = (out != images).any((1, 2, 3)).mean()
    assert changed > 0.9
    weak = rand_augment(images, Stream(1), 1, 1)
    assert np.abs(weak - images).mean() < np.abs(out - images).mean()
