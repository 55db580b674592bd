"""Pictures: from a file in any common format to an array of bytes, with Pillow."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from reslab.core import paths
from reslab.core.errors import one_line
from reslab.core.rng import Stream

from . import formats
from .formats import BadImage
from .scale import SIXTEEN_BITS, GreyScale, Values, to_bytes

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    from .augment import Augmentation

MARGIN = 256 / 224  # the centre view scales a picture to this multiple of the size, then crops
STRIP = 2**23  # pixels of a large picture that are reduced at once
BACKGROUND = (255, 255, 255)  # of transparent pixels: most cut-outs are made for a white page


Size = int | tuple[int, int]  # the side of a square, or (height, width)


def sides(size: Size) -> tuple[int, int]:
    """(height, width)."""
    return (size, size) if isinstance(size, int) else size


def regular(path: Path) -> Path:
    """The path, if it leads to a regular file. Raises BadImage."""
    try:
        return paths.regular(path)
    except OSError as error:
        raise BadImage(error.strerror or "cannot be read") from None


def open_picture(
    file: Path | IO[bytes], at_least: int = 0, scale: GreyScale | None = None
) -> Picture:
    """Decode a picture to mode L or RGB with 8 bits for each channel.

    Of an animation, the first frame is used. The EXIF orientation is applied. `scale` is that of
    values with more than 8 bits. Transparent pixels become white. With `at_least` the JPEG decoder
    may reduce the picture as long as its shorter side keeps twice that many pixels.

    Raises:
        BadImage: the file is not a picture, is truncated, or is a decompression bomb.
    """
    with _problems():
        return plain(_decoded(file, at_least), scale)


def check(file: Path | IO[bytes], at_least: int = 1) -> tuple[Picture, str]:
    """Read a file to its end, as training does.

    JPEG data are decoded at an eighth of the size, which checks all of the entropy coding at
    little cost.

    Returns:
        The picture with 8 bits, which may be reduced, and `str(Values)` of the grey values of a
        picture with more bits, else "".

    Raises:
        BadImage: training could not use the file.
    """
    with _problems():
        picture = _decoded(file, at_least)
        if not _is_deep(picture):
            return plain(picture), ""
        values = Values.of(np.asarray(picture))
        scale = SIXTEEN_BITS if values.kind == SIXTEEN_BITS.kind else values.scale()
        return plain(picture, scale), str(values)


@contextmanager
def _problems() -> Iterator[None]:
    """Turn every error about a file into a BadImage."""
    try:
        yield
    except BadImage:
        raise
    # On damaged data Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error,
    # IndexError and more.
    except Exception as error:
        raise BadImage(one_line(error) or type(error).__name__) from error


def _decoded(file: Path | IO[bytes], at_least: int) -> Picture:
    """The picture in its own mode, upright."""
    if isinstance(file, Path):
        regular(file)
    try:
        return _decoded_once(file, at_least)
    except ValueError as error:
        if not formats.has_too_much_text(error):
            raise
    content = formats.without_text(formats.reread(file).getvalue())
    return _decoded_once(io.BytesIO(content), at_least)


def _decoded_once(file: Path | IO[bytes], at_least: int) -> Picture:
    from PIL import ImageOps

    with formats.opened(file, at_least) as picture:
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return _reduced(picture) if picture.width * picture.height > formats.LARGE else picture


def _reduced(picture: Picture) -> Picture:
    """A large picture at half its size, row by row: each copy would take hundreds of megabytes."""
    from PIL import Image

    width, height = picture.size
    rows = 2 * max(1, STRIP // (2 * width))
    strips = (
        _half(picture.crop((0, top, width, min(height, top + rows))))
        for top in range(0, height, rows)
    )
    first = next(strips)
    out = Image.new(first.mode, ((width + 1) // 2, (height + 1) // 2))
    out.paste(first)
    for i, strip in enumerate(strips, 1):
        out.paste(strip, (0, i * rows // 2))
    return out


def _half(picture: Picture) -> Picture:
    if picture.mode.startswith("I;16"):  # Pillow does not reduce it
        return picture.convert("I").reduce(2).convert("I;16")
    return (picture if _is_deep(picture) else plain(picture)).reduce(2)


def _is_deep(picture: Picture) -> bool:
    """Whether the picture has values of more than 8 bits."""
    return picture.mode.startswith("I") or picture.mode == "F"


def plain(picture: Picture, scale: GreyScale | None = None) -> Picture:
    """Convert a picture of any mode to mode L or RGB.

    Raises ValueError if it has values of more than 8 bits that are not on the scale.
    """
    from PIL import Image

    mode = picture.mode
    if _is_deep(picture):
        return Image.fromarray(to_bytes(np.asarray(picture), scale))
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
    scale: GreyScale | None = None,
) -> np.ndarray:
    """Read the `view` of a file: uint8 (height, width, channels), for training and prediction.

    Raises:
        BadImage: the file cannot be decoded.
    """
    picture = open_picture(file, needed(size, augmentation), scale)
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
        box = centre_box(width, height, high, wide, margin)
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


def centre_box(width: int, height: int, high: int, wide: int, margin: bool) -> Box:
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
