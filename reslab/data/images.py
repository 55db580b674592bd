"""Pictures: from a file in any common format to a square of bytes, with Pillow."""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from .draws import Stream

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from .augment import Augmentation

# What is opened, by content; nothing that runs a program (EPS) or that nobody photographs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM")
_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .gif .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm"
SUFFIXES = frozenset(_SUFFIXES.split())
BACKGROUND = (255, 255, 255)  # under transparent pixels: most cut-outs are made for a white page


class BadImage(Exception):
    """A file that is not a whole picture; the message says why."""


def open_picture(file: Path | IO[bytes], at_least: int = 0) -> Picture:
    """The picture, upright, as mode L or RGB with 8 bits a channel.

    The first frame of an animation; EXIF orientation is applied; 16-bit values are divided by
    257; transparent pixels show white. `at_least` lets the JPEG decoder halve the picture while
    its shorter side stays at least twice that many pixels.

    Raises:
        BadImage: it is no picture, a truncated one, or so large that it must be a bomb.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()  # registers all of FORMATS, the first time
    try:
        with Image.open(file, formats=FORMATS) as opened:
            width, height = opened.size
            limit = Image.MAX_IMAGE_PIXELS
            if limit and width * height > limit:
                raise BadImage(f"a decompression bomb: {width}x{height} pixels")
            if at_least and opened.format in ("JPEG", "MPO"):
                scale = max(1, min(width, height) // (2 * at_least))
                opened.draft("", (width // scale, height // scale))
            opened.load()
            return plain(ImageOps.exif_transpose(opened))
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image that can be read") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise BadImage("a decompression bomb") from None
    # On damaged data Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error,
    # IndexError and more; whichever it is, the file is of no use.
    except Exception as error:
        first = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise BadImage(first) from error


def plain(picture: Picture) -> Picture:
    """Mode L or RGB, from any mode."""
    from PIL import Image

    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(_to_bytes(np.asarray(picture), mode))
    if mode == "La":
        return plain(picture.convert("LA"))
    if mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        seen = picture.convert("RGBA")
        below = Image.new("RGBA", seen.size, (*BACKGROUND, 255))
        flat = Image.alpha_composite(below, seen).convert("RGB")
        return flat.convert("L") if mode in ("L", "1", "LA") else flat
    if mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if mode == "1" else "RGB")


def _to_bytes(values: np.ndarray, mode: str) -> np.ndarray:
    """uint8 from 16-bit grey (also in 32-bit containers) or from reals in 0..1 or 0..255."""
    if mode == "F":
        if not np.isfinite(values).all():
            raise ValueError("it has pixels that are not numbers")
        top = 1.0 if values.max(initial=0) <= 1 else 255.0
        return np.rint(np.clip(values, 0, top) * (255 / top)).astype(np.uint8)
    wide = values.astype(np.int64)
    if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
        raise ValueError("its grey values are not in 0..65535")
    return ((wide + 128) // 257).astype(np.uint8)


def check(file: Path | IO[bytes]) -> None:
    """Reads a file to the end, as training would.

    JPEG data is decoded at an eighth of the size: all of the entropy coding, little of the rest.

    Raises:
        BadImage: training would fail on it.
    """
    open_picture(file, at_least=1)


def to_array(picture: Picture, channels: int) -> np.ndarray:
    """uint8 (h, w, channels)."""
    array = np.asarray(picture.convert("RGB" if channels == 3 else "L"))
    return array if channels == 3 else array[..., None]


def needed(size: int, how: Augmentation | None) -> int:
    """How many pixels the shorter side should keep, so that no view has to be enlarged."""
    if how is None:
        return round(size * 256 / 224)
    if how.name == "scale-crop":
        return round(size * how.args[1] / 224)
    return round(size / math.sqrt(how.args[0]))


def read_view(
    file: Path | IO[bytes],
    size: int,
    channels: int,
    how: Augmentation | None = None,
    stream: Stream | None = None,
) -> np.ndarray:
    """uint8 (size, size, channels): `view` of a file, the same in training and prediction.

    Raises:
        BadImage: the file cannot be decoded.
    """
    picture = open_picture(file, at_least=needed(size, how))
    return to_array(view(picture, size, how, stream), channels)


def view(picture: Picture, size: int, how: Augmentation | None, stream: Stream | None) -> Picture:
    """A size x size square of the picture: the centre, or where the augmentation puts it.

    The centre view scales the shorter side to size * 256 / 224 and takes the middle square, as
    is usual at 224. "scale-crop(256,480)" draws the shorter side, in the same proportion, and
    the place (He 2015, after Simonyan); "area-crop(0.08)" draws an area of at least 8 % and a
    shape of 3:4 to 4:3 (Szegedy 2014).
    """
    from PIL import Image

    width, height = picture.size
    if how is None or stream is None:
        shorter = round(size * 256 / 224)
        side = size * min(width, height) / shorter
        box = _square(width, height, side, 0.5, 0.5)
    elif how.name == "scale-crop":
        wanted, across, down = stream.uniform(3)
        low, high = (round(a * size / 224) for a in how.args)
        shorter = max(size, low + int(wanted * (high - low + 1)))
        side = size * min(width, height) / shorter
        box = _square(width, height, side, across, down)
    else:
        box = _area(width, height, how.args[0], stream)
    return picture.resize((size, size), Image.Resampling.BILINEAR, box=box)


Box = tuple[float, float, float, float]


def _square(width: int, height: int, side: float, across: float, down: float) -> Box:
    left, top = (width - side) * across, (height - side) * down
    return left, top, min(left + side, width), min(top + side, height)


def _area(width: int, height: int, least: float, stream: Stream) -> Box:
    """Ten tries for a box that fits, else the largest square in the middle."""
    for area, shape, across, down in stream.uniform(40).reshape(10, 4):
        pixels = width * height * (least + (1 - least) * area)
        ratio = math.exp(math.log(4 / 3) * (2 * shape - 1))
        w, h = math.sqrt(pixels * ratio), math.sqrt(pixels / ratio)
        if w <= width and h <= height:
            left, top = (width - w) * across, (height - h) * down
            return left, top, min(left + w, width), min(top + h, height)
    return _square(width, height, min(width, height), 0.5, 0.5)


def resize_array(images: np.ndarray, size: int | None, channels: int) -> np.ndarray:
    """uint8 (n, size, size, channels) from (n, h, w, c): the middle square, scaled."""
    from PIL import Image

    _, height, width, _ = images.shape
    side = min(height, width)
    box = _square(width, height, side, 0.5, 0.5)
    out = np.empty((len(images), size or height, size or width, channels), np.uint8)
    for i, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        if size is not None and (size, size) != (height, width):
            picture = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
        out[i] = to_array(picture, channels)
    return out
