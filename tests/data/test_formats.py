"""Pictures are recognised by their content, and large ones and odd ones are read."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from reslab import data
from reslab.core.errors import UserError
from reslab.data import formats, images

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
HEIC_HEADER = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
KINDS = ["JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM"]
if features.check("avif"):
    KINDS.append("AVIF")


def encoded(kind: str, array: np.ndarray = NOISE, **options: object) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_bytes_say_the_format(kind):
    assert formats.recognise(encoded(kind)[: formats.PREFIX]) == kind


@pytest.mark.parametrize(
    "prefix",
    [b"", b"BM is a town", b"P5 is a file of grey pictures", b"MMXXVI", b"\0\0\0\x18ftypmp42"],
)
def test_other_bytes_are_no_picture(prefix):
    assert formats.recognise(prefix) is None


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"heix", b"hevc"])
def test_heic_without_the_extra(tmp_path, monkeypatch, brand):
    find = formats.importlib.util.find_spec
    monkeypatch.setattr(
        formats.importlib.util, "find_spec", lambda n: None if n == "pillow_heif" else find(n)
    )
    content = HEIC_HEADER.replace(b"heic", brand)
    with pytest.raises(formats.BadImage, match=r'HEIC, which needs pip install "reslab\[heif\]"'):
        images.check(io.BytesIO(content))
    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(6):
            (tmp_path / name / f"{i}.png").write_bytes(encoded("PNG", NOISE + i))
        (tmp_path / name / "photo.heic").write_bytes(content)
    loaded = data.load(tmp_path, size=8)
    (kind, count), *rest = loaded.facts["passed_over"].items()
    assert (count, rest) == (2, [])
    assert "HEIC picture" in kind
    assert "reslab[heif]" in kind
    (tmp_path / "a" / "named.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"named\.jpg \(HEIC, which needs") as raised:
        data.load(tmp_path, size=8)
    assert "damaged" not in str(raised.value)


def test_heic_with_the_extra(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    smooth = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    for name in ("x.heic", "x.jpg", "x"):
        pillow_heif.from_pillow(Image.fromarray(smooth)).save(tmp_path / name, format="HEIF")
        array = images.to_array(images.open_picture(tmp_path / name), 3)
        assert np.abs(array.astype(int) - smooth).mean() < 8
    with pytest.raises(formats.BadImage, match="HEIC"):
        images.check(io.BytesIO(HEIC_HEADER))


def test_avif_without_support(monkeypatch):
    monkeypatch.setattr(formats, "_has_avif", lambda: False)
    with pytest.raises(formats.BadImage, match="AVIF, which this Pillow cannot read"):
        images.check(io.BytesIO(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1"))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("key", ["workflow", "parameters"])
def test_a_png_with_much_text(zipped, key):
    info = PngInfo()
    info.add_text(key, "x" * 3_000_000, zip=zipped)
    info.add_itxt("more", "y" * 3_000_000, zip=zipped)
    picture, values = images.check(io.BytesIO(encoded("PNG", pnginfo=info)))
    assert values == ""
    assert np.array_equal(np.asarray(picture), NOISE)


def test_pixels_up_to_the_limits(monkeypatch):
    monkeypatch.setattr(formats, "LARGE", 2000)
    monkeypatch.setattr(formats, "MOST_PIXELS", 2399)
    monkeypatch.setattr(formats, "MOST_PIXELS_JPEG", 2400)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = images.open_picture(io.BytesIO(encoded("JPEG")))
        assert picture.size == (30, 20)  # a large one is decoded at half the size
        assert images.open_picture(io.BytesIO(encoded("JPEG")), at_least=2).size == (8, 5)
        with pytest.raises(formats.BadImage, match="bomb: 60x40 pixels, more than 2,399"):
            images.check(io.BytesIO(encoded("PNG")))
        monkeypatch.setattr(formats, "MOST_PIXELS_JPEG", 2399)
        with pytest.raises(formats.BadImage, match="bomb"):
            images.check(io.BytesIO(encoded("JPEG")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "L", "1", "P", "I;16"])
@pytest.mark.parametrize("size", [(60, 41), (7, 60)])
def test_large_pictures_are_reduced_strip_by_strip(mode, size, monkeypatch):
    rng = np.random.default_rng(4)
    pixels = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((10, 10, 1))).astype(np.uint8)
    whole = Image.fromarray(pixels).crop((0, 0, *size)).convert(mode.replace("I;16", "L"))
    if mode in ("RGBA", "LA"):
        whole.putalpha(100)
    if mode == "I;16":
        whole = Image.fromarray(np.asarray(whole).astype(np.uint16) * 200)
    small = io.BytesIO()
    whole.save(small, "PNG")
    expected = np.asarray(images.check(small)[0].reduce(2)).astype(int)
    monkeypatch.setattr(formats, "LARGE", 100)
    monkeypatch.setattr(images, "STRIP", 200)
    picture = images.check(small)[0]
    assert picture.size == tuple((side + 1) // 2 for side in size)
    assert np.abs(np.asarray(picture).astype(int) - expected).max() <= 1


def test_a_large_photo_of_a_telephone(tmp_path: Path):
    Image.new("RGB", (12000, 9000), (9, 99, 9)).save(tmp_path / "photo.jpg", quality=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        view = images.read_view(tmp_path / "photo.jpg", 32, 3)
    assert np.abs(view.astype(int) - [9, 99, 9]).max() < 4
