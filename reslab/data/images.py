"""Pictures: from a file in any common format to a square of bytes, with Pillow."""

from __future__ import annotations

import math
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from reslab.core.errors import written
from reslab.core.rng import Stream

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from .augment import Augmentation

# What is opened, by content; nothing that runs a program (EPS) or that nobody photographs.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM")
_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .gif .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm"
SUFFIXES = frozenset(_SUFFIXES.split())
# What is not, but may well lie there in good faith.
UNREAD = frozenset(
    [
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".svg",
        ".psd",
        ".dng",
        ".cr2",
        ".cr3",
        ".nef",
        ".arw",
    ]
)
IGNORED = ("__MACOSX", "@eaDir")  # what other systems leave in folders
MARGIN = 256 / 224  # of the usual centre view: the picture is scaled to so much more than it
BACKGROUND = (255, 255, 255)  # under transparent pixels: most cut-outs are made for a white page


Size = int | tuple[int, int]  # the side of a square, or (height, width)


class BadImage(Exception):
    """A file that is not a whole picture; the message says why."""


def sides(size: Size) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else size


def listed(folder: Path) -> list[Path]:
    """The pictures in a folder and below it, by suffix, sorted; hidden ones are left out.

    Raises:
        UserError: a name that is not UTF-8.
    """
    found = sorted(path for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    for path in found:
        written(str(path))
    return found


def unread(folder: Path) -> str:
    """ "12 .heic files, which are not read: convert them to JPEG"; empty where there are none."""
    kinds = Counter(path.suffix.lower() for path in _files(folder))
    kind, n = max(((k, kinds[k]) for k in sorted(UNREAD)), key=lambda pair: pair[1])
    if n == 0:
        return ""
    which, them = ("file", "it") if n == 1 else ("files", "them")
    verb = "is" if n == 1 else "are"
    return f"{n} {kind} {which}, which {verb} not read: convert {them} to JPEG"


def _files(folder: Path) -> Iterator[Path]:
    for at, inside, files in os.walk(folder):
        inside[:] = [d for d in inside if d[0] != "." and d not in IGNORED]
        yield from (Path(at, f) for f in files if f[0] != ".")


def regular(path: Path) -> Path:
    """The path, if a file is there that can be read to its end; raises BadImage."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadImage(error.strerror or "cannot be read") from None
    if not stat.S_ISREG(mode):  # opening a pipe waits for its writer, perhaps for ever
        raise BadImage("not a regular file")
    return path


def open_picture(file: Path | IO[bytes], at_least: int = 0) -> Picture:
    """The picture, upright, as mode L or RGB with 8 bits a channel.

    The first frame of an animation; EXIF orientation is applied; 16-bit values are divided by
    257; transparent pixels show white. `at_least` lets the JPEG decoder halve the picture while
    its shorter side stays at least twice that many pixels.

    Raises:
        BadImage: it is no picture, a truncated one, or so large that it must be a bomb.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(file, Path):
        regular(file)
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


def needed(size: Size, how: Augmentation | None) -> int:
    """How many pixels the shorter side should keep, so that no view has to be enlarged."""
    size = max(sides(size))
    if how is None:
        return round(size * MARGIN)
    if how.name == "scale-crop":
        return round(size * how.args[1] / 224)
    return round(size / math.sqrt(how.args[0]))


def read_view(
    file: Path | IO[bytes],
    size: Size,
    channels: int,
    how: Augmentation | None = None,
    stream: Stream | None = None,
    margin: bool = True,
) -> np.ndarray:
    """uint8 (height, width, channels): `view` of a file, the same in training and prediction.

    Raises:
        BadImage: the file cannot be decoded.
    """
    picture = open_picture(file, at_least=needed(size, how))
    return to_array(view(picture, size, how, stream, margin), channels)


def view(
    picture: Picture,
    size: Size,
    how: Augmentation | None,
    stream: Stream | None,
    margin: bool = True,
) -> Picture:
    """A part of the picture, scaled to `size`: the centre, or where the augmentation puts it.

    The centre view scales the shorter side to size * 256 / 224 and takes the middle square, as
    is usual at 224; without `margin` it takes all that fits. Augmentations make squares, so they
    want an int as `size`. "scale-crop(256,480)" draws the shorter side, in the same proportion, and
    the place (He 2015, after Simonyan); "area-crop(0.08)" draws an area of at least 8 % and a
    shape of 3:4 to 4:3 (Szegedy 2014).
    """
    from PIL import Image

    width, height = picture.size
    high, wide = sides(size)
    if how is None or stream is None:
        box = _middle(width, height, high, wide, margin)
    elif how.name == "scale-crop":
        wanted, across, down = stream.uniform(3)
        least, most = (round(a * wide / 224) for a in how.args)
        shorter = max(wide, least + int(wanted * (most - least + 1)))
        side = wide * min(width, height) / shorter
        box = _square(width, height, side, across, down)
    else:
        box = _area(width, height, how.args[0], stream)
    return picture.resize((wide, high), Image.Resampling.BILINEAR, box=box)


Box = tuple[float, float, float, float]


def _middle(width: int, height: int, high: int, wide: int, margin: bool) -> Box:
    """The largest middle part of a picture in the shape high x wide, or that without a margin."""
    if width * high < height * wide:
        across, down = float(width), width * high / wide
    else:
        across, down = height * wide / high, float(height)
    if margin:
        short = min(high, wide)
        across, down = (side * short / round(short * MARGIN) for side in (across, down))
    left, top = (width - across) * 0.5, (height - down) * 0.5
    return left, top, min(left + across, width), min(top + down, height)


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


def resize_array(images: np.ndarray, size: Size | None, channels: int) -> np.ndarray:
    """uint8 (n, height, width, channels) from (n, h, w, c): the middle of each, scaled."""
    from PIL import Image

    high, wide = images.shape[1:3] if size is None else sides(size)
    out = np.empty((len(images), high, wide, channels), np.uint8)
    for i, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        out[i] = to_array(view(picture, (high, wide), None, None, margin=False), channels)
    return out
