"""Pictures: from a file in any common format to an array of bytes, with Pillow."""

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

# Formats that are read, by content. Formats that start a program (EPS) are not among them.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM")
_SUFFIXES = ".jpg .jpeg .jpe .jfif .png .gif .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm"
SUFFIXES = frozenset(_SUFFIXES.split())
# Image formats that are not read, but that users may have.
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
IGNORED = ("__MACOSX", "@eaDir")  # folders that other systems create
MARGIN = 256 / 224  # the centre view scales a picture to this multiple of the size, then crops
BACKGROUND = (255, 255, 255)  # of transparent pixels: most cut-outs are made for a white page


Size = int | tuple[int, int]  # the side of a square, or (height, width)


class BadImage(Exception):
    """The file is not a complete picture. The message says why."""


def sides(size: Size) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else size


def listed(folder: Path) -> list[Path]:
    """The pictures in a folder and its subfolders, by suffix, sorted, without hidden files.

    Raises:
        UserError: a name is not UTF-8.
    """
    paths = sorted(path for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    for path in paths:
        written(str(path))
    return paths


def unread(folder: Path) -> str:
    """Such as "12 .heic files, which are not read: convert them to JPEG", or an empty string."""
    kinds = Counter(path.suffix.lower() for path in _files(folder))
    kind, n = max(((k, kinds[k]) for k in sorted(UNREAD)), key=lambda pair: pair[1])
    if n == 0:
        return ""
    which, them = ("file", "it") if n == 1 else ("files", "them")
    verb = "is" if n == 1 else "are"
    return f"{n} {kind} {which}, which {verb} not read: convert {them} to JPEG"


def _files(folder: Path) -> Iterator[Path]:
    for parent, subfolders, files in os.walk(folder):
        subfolders[:] = [d for d in subfolders if d[0] != "." and d not in IGNORED]
        yield from (Path(parent, f) for f in files if f[0] != ".")


def regular(path: Path) -> Path:
    """The path, if it is a regular file. Raises BadImage."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadImage(error.strerror or "cannot be read") from None
    if not stat.S_ISREG(mode):  # opening a pipe may wait for ever
        raise BadImage("not a regular file")
    return path


def open_picture(file: Path | IO[bytes], at_least: int = 0) -> Picture:
    """Decode a picture to mode L or RGB with 8 bits for each channel.

    Of an animation, the first frame is used. The EXIF orientation is applied. 16-bit values are
    divided by 257. Transparent pixels become white. With `at_least` the JPEG decoder may reduce
    the picture as long as its shorter side keeps twice that many pixels.

    Raises:
        BadImage: the file is not a picture, is truncated, or is a decompression bomb.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if isinstance(file, Path):
        regular(file)
    Image.init()  # the first call registers all FORMATS
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
    # IndexError and more.
    except Exception as error:
        first_line = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise BadImage(first_line) from error


def plain(picture: Picture) -> Picture:
    """Convert a picture of any mode to mode L or RGB."""
    from PIL import Image

    mode = picture.mode
    if mode.startswith("I") or mode == "F":
        return Image.fromarray(_to_bytes(np.asarray(picture), mode))
    if mode == "La":
        return plain(picture.convert("LA"))
    if mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        background = Image.new("RGBA", picture.size, (*BACKGROUND, 255))
        flat = Image.alpha_composite(background, picture).convert("RGB")
        return flat.convert("L") if mode in ("L", "1", "LA") else flat
    if mode in ("L", "RGB"):
        return picture
    return picture.convert("L" if mode == "1" else "RGB")


def _to_bytes(values: np.ndarray, mode: str) -> np.ndarray:
    """uint8 from 16-bit grey (also in 32-bit containers) or from floats in 0..1 or 0..255."""
    if mode == "F":
        if not np.isfinite(values).all():
            raise ValueError("it has pixels that are not finite")
        top = 1.0 if values.max(initial=0) <= 1 else 255.0
        return np.rint(np.clip(values, 0, top) * (255 / top)).astype(np.uint8)
    wide = values.astype(np.int64)
    if wide.min(initial=0) < 0 or wide.max(initial=0) > 65535:
        raise ValueError("its grey values are not in 0..65535")
    return ((wide + 128) // 257).astype(np.uint8)


def check(file: Path | IO[bytes], at_least: int = 1) -> Picture:
    """Read a file to its end, as training does; return the picture, which may be reduced.

    JPEG data are decoded at an eighth of the size, which checks all of the entropy coding at
    little cost.

    Raises:
        BadImage: training could not use the file.
    """
    return open_picture(file, at_least)


def to_array(picture: Picture, channels: int) -> np.ndarray:
    """uint8 (h, w, channels)."""
    array = np.asarray(picture.convert("RGB" if channels == 3 else "L"))
    return array if channels == 3 else array[..., None]


def needed(size: Size, augmentation: Augmentation | None) -> int:
    """The pixels that the shorter side needs, so that no view is enlarged."""
    size = max(sides(size))
    if augmentation is None:
        return round(size * MARGIN)
    if augmentation.name == "scale-crop":
        return round(size * augmentation.args[1] / 224)
    return round(size / math.sqrt(augmentation.args[0]))


def read_view(
    file: Path | IO[bytes],
    size: Size,
    channels: int,
    augmentation: Augmentation | None = None,
    stream: Stream | None = None,
    margin: bool = True,
) -> np.ndarray:
    """Read the `view` of a file: uint8 (height, width, channels), for training and prediction.

    Raises:
        BadImage: the file cannot be decoded.
    """
    picture = open_picture(file, at_least=needed(size, augmentation))
    return to_array(view(picture, size, augmentation, stream, margin), channels)


def view(
    picture: Picture,
    size: Size,
    augmentation: Augmentation | None,
    stream: Stream | None,
    margin: bool = True,
) -> Picture:
    """Cut a part out of a picture and scale it to `size`: the centre, or a random part.

    The centre view scales the shorter side to size * 256 / 224 and crops the middle, as is usual
    at 224. Without `margin` it crops no more than the shape requires. Augmentations make squares,
    so they need an int as `size`. "scale-crop(256,480)" draws the length of the shorter side (in
    proportion to 224) and the position (He 2015, after Simonyan). "area-crop(0.08)" draws an area
    of at least 8 % and an aspect ratio of 3:4 to 4:3 (Szegedy 2014).
    """
    from PIL import Image

    width, height = picture.size
    high, wide = sides(size)
    if augmentation is None or stream is None:
        box = _middle(width, height, high, wide, margin)
    elif augmentation.name == "scale-crop":
        scale, across, down = stream.uniform(3)
        least, most = (round(a * wide / 224) for a in augmentation.args)
        shorter = max(wide, least + int(scale * (most - least + 1)))
        side = wide * min(width, height) / shorter
        box = _square(width, height, side, across, down)
    else:
        box = _area(width, height, augmentation.args[0], stream)
    return picture.resize((wide, high), Image.Resampling.BILINEAR, box=box)


Box = tuple[float, float, float, float]


def _middle(width: int, height: int, high: int, wide: int, margin: bool) -> Box:
    """The largest centre box of the shape high x wide, less the margin if there is one."""
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
    """The first of ten random boxes that fits, else the largest centre square."""
    for area, shape, across, down in stream.uniform(40).reshape(10, 4):
        pixels = width * height * (least + (1 - least) * area)
        ratio = math.exp(math.log(4 / 3) * (2 * shape - 1))
        w, h = math.sqrt(pixels * ratio), math.sqrt(pixels / ratio)
        if w <= width and h <= height:
            left, top = (width - w) * across, (height - h) * down
            return left, top, min(left + w, width), min(top + h, height)
    return _square(width, height, min(width, height), 0.5, 0.5)


def resize_array(images: np.ndarray, size: Size | None, channels: int) -> np.ndarray:
    """Scale the centre of each image: uint8 (n, h, w, c) to (n, height, width, channels)."""
    from PIL import Image

    high, wide = images.shape[1:3] if size is None else sides(size)
    out = np.empty((len(images), high, wide, channels), np.uint8)
    for i, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        out[i] = to_array(view(picture, (high, wide), None, None, margin=False), channels)
    return out
