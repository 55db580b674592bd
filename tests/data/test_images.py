"""Every kind of picture comes out right."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from reslab.core.rng import Stream
from reslab.data import augment, formats, images
from reslab.data.scale import FLOATS, GreyScale

RNG = np.random.default_rng(0)
# Four flat quarters, so that no compression or scaling can blur which is where.
QUARTERS = np.zeros((64, 96, 3), np.uint8)
QUARTERS[:32, :48] = 255, 0, 0
QUARTERS[:32, 48:] = 0, 255, 0
QUARTERS[32:, :48] = 0, 0, 255
QUARTERS[32:, 48:] = 200, 200, 200
PLACES = {"red": (10, 10), "green": (10, 80), "blue": (55, 10), "grey": (55, 80)}
EXIF_ORIENTATION = 0x0112


def opened(
    picture: Image.Image, suffix: str, path: Path, scale: GreyScale | None = None, **options: object
) -> np.ndarray:
    file = path / f"x{suffix}"
    picture.save(file, **options)
    return images.to_array(images.open_picture(file, scale=scale), 3).astype(int)


def assert_quarters(array: np.ndarray, tolerance: int = 8) -> None:
    assert array.shape == QUARTERS.shape
    for place in PLACES.values():
        assert np.abs(array[place] - QUARTERS[place]).max() <= tolerance


@pytest.mark.parametrize(
    "suffix",
    [
        *(".jpg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".JPEG", ".PNG"),
        pytest.param(
            ".avif", marks=pytest.mark.skipif(not features.check("avif"), reason="this Pillow")
        ),
    ],
)
def test_formats(tmp_path, suffix):
    assert suffix.lower() in formats.SUFFIXES
    assert_quarters(opened(Image.fromarray(QUARTERS), suffix, tmp_path), 12)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [
        tuple(text.split())
        for text in (
            "P .png",
            "P .gif",
            "RGBA .png",
            "RGBA .webp",
            "CMYK .jpg",
            "CMYK .tif",
            "YCbCr .jpg",
            "LAB .tif",
            "RGBX .tif",
        )
    ],
)
def test_modes_of_colour(tmp_path, mode, suffix):
    picture = Image.fromarray(QUARTERS)
    if mode == "LAB":
        pytest.importorskip("PIL.ImageCms")
        from PIL import ImageCms

        profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        made = ImageCms.profileToProfile(picture, *profiles, outputMode="LAB")
        assert made is not None
        array = opened(made, suffix, tmp_path)
        assert array[PLACES["red"]].argmax() == 0  # which red it is, is for colour management
        return
    made = picture.convert(mode) if mode != "RGBX" else picture.convert("RGBX")
    assert_quarters(opened(made, suffix, tmp_path), 12)


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_and_black_and_white(tmp_path, mode):
    grey = np.zeros((20, 30), np.uint8)
    grey[:, 15:] = 255
    array = opened(Image.fromarray(grey).convert(mode), ".png", tmp_path)
    assert (array == grey[..., None]).all()
    assert images.to_array(images.open_picture(tmp_path / "x.png"), 1).shape == (20, 30, 1)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
def test_sixteen_bits_keep_their_range(tmp_path, suffix):
    ramp = np.linspace(0, 65535, 600).astype(np.uint16).reshape(20, 30)
    array = opened(Image.fromarray(ramp), suffix, tmp_path)
    np.testing.assert_allclose(array[..., 0], ramp / 257, atol=0.51)
    assert array.min() == 0
    assert array.max() == 255


def test_reals_and_wide_integers(tmp_path):
    ramp = np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)
    for top in (1, 255, 4095):
        scale = GreyScale(FLOATS, 0, top)
        array = opened(Image.fromarray(ramp * top), ".tif", tmp_path, scale)
        np.testing.assert_allclose(array[..., 0], ramp * 255, atol=0.51)
    wide = Image.fromarray((ramp * 65535).astype(np.int32))
    np.testing.assert_allclose(opened(wide, ".tif", tmp_path)[..., 0], ramp * 255, atol=0.51)
    for strange in (ramp * np.nan, (ramp * 2**20).astype(np.int32)):
        Image.fromarray(strange).save(tmp_path / "s.tif")
        with pytest.raises(formats.BadImage):
            images.check(tmp_path / "s.tif")


def test_transparency_shows_white(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = 10, 20, 30, 255
    rgba[2:] = 10, 20, 30, 0
    rgba[3, 3] = 0, 0, 0, 128
    array = opened(Image.fromarray(rgba), ".png", tmp_path)
    assert array[0, 0].tolist() == [10, 20, 30]
    assert array[2, 0].tolist() == [255, 255, 255]
    assert abs(array[3, 3] - 127).max() <= 1
    la = Image.fromarray(rgba[..., 2:])
    assert la.mode == "LA"
    assert opened(la, ".png", tmp_path)[2, 0].tolist() == [255] * 3


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
def test_palette_with_transparency(tmp_path, transparency):
    picture = Image.fromarray(np.array([[0, 1], [2, 0]], np.uint8))
    picture = picture.convert("P")
    picture.putdata([0, 1, 2, 0])
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    array = opened(picture, ".png", tmp_path, transparency=transparency)
    assert array.reshape(4, 3).tolist() == [[255, 0, 0], [255] * 3, [0, 0, 255], [255, 0, 0]]


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert images.to_array(images.open_picture(tmp_path / "a.gif"), 3)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
def test_exif_orientation(tmp_path, orientation, suffix):
    # Stored so that applying the orientation gives the quarters back (EXIF 2.3, tag 0x0112).
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    stored = Image.fromarray(np.ascontiguousarray(store(QUARTERS)))
    assert_quarters(opened(stored, suffix, tmp_path, exif=exif), 12)


def noise(suffix: str) -> bytes:
    out = io.BytesIO()
    picture = Image.fromarray(RNG.integers(0, 256, (120, 90, 3), dtype=np.uint8))
    options = {"compression": "tiff_lzw"} if suffix == "TIFF" else {}
    picture.save(out, suffix, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_truncated_files_are_found(kind):
    whole = noise(kind)
    images.check(io.BytesIO(whole))
    for share in (0.0, 0.02, 0.2, 0.5, 0.8, 0.98):
        with pytest.raises(formats.BadImage) as raised:
            images.check(io.BytesIO(whole[: int(share * len(whole))]))
        assert "\n" not in str(raised.value)


def test_truncated_progressive_jpeg_is_found():
    out = io.BytesIO()
    picture = Image.fromarray(RNG.integers(0, 256, (200, 200, 3), dtype=np.uint8))
    picture.save(out, "JPEG", progressive=True)
    images.check(io.BytesIO(out.getvalue()))
    with pytest.raises(formats.BadImage):
        images.check(io.BytesIO(out.getvalue()[: len(out.getvalue()) // 2]))


def test_what_is_no_picture(tmp_path):
    for body in (
        b"",
        b"some text\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"\x89PNG\r\n\x1a\n",
        b"\0" * 99,
    ):
        with pytest.raises(formats.BadImage):
            images.check(io.BytesIO(body))
    with pytest.raises(formats.BadImage):
        images.check(tmp_path / "none.png")


def test_the_suffix_may_lie_about_the_format(tmp_path):
    Image.fromarray(QUARTERS).save(tmp_path / "x.png", "JPEG")
    images.check(tmp_path / "x.png")


def test_a_decompression_bomb(monkeypatch):
    out = io.BytesIO()
    Image.new("1", (2000, 2000)).save(out, "PNG")
    for limit in (1_000_000, 3_999_999):
        monkeypatch.setattr(formats, "MOST_PIXELS", limit)
        with pytest.raises(formats.BadImage, match="decompression bomb"):
            images.check(io.BytesIO(out.getvalue()))
    monkeypatch.setattr(formats, "MOST_PIXELS", 4_000_000)
    images.check(io.BytesIO(out.getvalue()))


def test_the_centre_view():
    ramp = np.zeros((100, 200, 3), np.uint8)
    ramp[..., 0] = np.arange(200)
    ramp[..., 1] = np.arange(100)[:, None]
    seen = np.asarray(images.view(Image.fromarray(ramp), 56, None, None)).astype(float)
    # The shorter side of 100 becomes 64; the middle 56 of it are 87.5 pixels of the original.
    assert seen.shape == (56, 56, 3)
    scale = 100 / 64
    centres = (np.arange(56) + 0.5) * scale
    np.testing.assert_allclose(seen[20, :, 0], 100 - 43.75 + centres - 0.5, atol=1.01)
    np.testing.assert_allclose(seen[:, 20, 1], 50 - 43.75 + centres - 0.5, atol=1.01)


def ramp(height: int, width: int) -> Image.Image:
    across = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    down = np.tile(np.linspace(0, 255, height).astype(np.uint8)[:, None], (1, width))
    return Image.fromarray(np.stack([across, down, across], -1))


@pytest.mark.parametrize(("height", "width"), [(240, 320), (500, 120), (30, 40), (224, 224)])
@pytest.mark.parametrize("how", ["scale-crop(256,480)", "area-crop(0.08)", "area-crop(1)"])
def test_drawn_views_lie_inside_and_differ(height, width, how):
    picture = ramp(height, width)
    parsed = augment.parse(how)
    views = [images.view(picture, 32, parsed, Stream(i)) for i in range(12)]
    again = images.view(picture, 32, parsed, Stream(3))
    assert np.array_equal(np.asarray(views[3]), np.asarray(again))
    assert all(v.size == (32, 32) for v in views)
    if how != "area-crop(1)":
        assert len({np.asarray(v).tobytes() for v in views}) > 8
    for v in views:  # a ramp stays one: nothing was mirrored, wrapped or filled
        array = np.asarray(v).astype(int)
        assert (np.diff(array[16, :, 0]) >= 0).all()
        assert (np.diff(array[:, 16, 1]) >= 0).all()


def test_scale_crop_draws_the_scales_of_the_paper():
    picture = ramp(1000, 1000)
    how = augment.parse("scale-crop(256,480)")
    spans = []
    for i in range(300):
        array = np.asarray(images.view(picture, 224, how, Stream("s", i))).astype(int)
        spans.append((array[:, 112, 1].max() - array[:, 112, 1].min()) / 255)
    # A 224 crop of a picture whose shorter side is 256 to 480 shows 224/480 to 224/256 of it.
    assert min(spans) == pytest.approx(224 / 480, abs=0.02)
    assert max(spans) == pytest.approx(224 / 256, abs=0.02)


def test_a_reduced_decoding_is_a_close_one(tmp_path):
    x = np.linspace(0, 3, 1600)
    smooth = (127 + 120 * np.sin(x[:, None] * 2 + x[None])).astype(np.uint8)
    path = tmp_path / "big.jpg"
    Image.fromarray(smooth).save(path, quality=95)
    fast = images.read_view(path, 112, 1)
    slow = images.to_array(images.view(images.open_picture(path), 112, None, None), 1)
    assert images.open_picture(path, at_least=128).size == (400, 400)
    assert np.abs(fast.astype(int) - slow).max() <= 6


def test_resizing_arrays():
    array = RNG.integers(0, 256, (3, 20, 30, 1), dtype=np.uint8)
    assert images.resize_array(array, None, 3).shape == (3, 20, 30, 3)
    assert (images.resize_array(array, None, 3) == array).all()
    assert images.resize_array(array, 32, 3).shape == (3, 32, 32, 3)
    middle = images.resize_array(array, 20, 1)
    assert (middle == array[:, :, 5:25]).all()
