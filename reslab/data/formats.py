"""Which files are pictures, recognised by their first bytes, and opening them with Pillow."""

from __future__ import annotations

import importlib.util
import io
import re
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Formats that are read, by content. Formats that start a program (EPS) are not among them.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "WEBP", "TIFF", "PPM", "AVIF")
HEIC, AVIF = "HEIC", "AVIF"
_SUFFIXES = (
    ".jpg .jpeg .jpe .jfif .png .gif .bmp .dib .webp .tif .tiff .ppm .pgm .pbm .pnm .avif .avifs"
)
SUFFIXES = frozenset(_SUFFIXES.split())
AVIF_SUFFIXES = frozenset((".avif", ".avifs"))
HEIC_SUFFIXES = frozenset((".heic", ".heif", ".hif", ".heics", ".heifs"))
# Image formats that are not read, but that users may have. Raw files look like TIFF, and Pillow
# would read the small preview in them.
_UNREAD = ".jxl .jp2 .j2k .svg .psd .dng .cr2 .cr3 .nef .arw .orf .rw2 .raf .pef .srw .nrw .dcm"
UNREAD = frozenset(_UNREAD.split())
PREFIX = 64  # bytes from which the format is recognised
LARGE = 89_478_485  # pixels; larger pictures are decoded one at a time, JPEG at half the size
MOST_PIXELS, MOST_PIXELS_JPEG = 150_000_000, 300_000_000
INSTALL_HEIF = 'pip install "reslab[heif]"'

_one_large_picture = threading.Lock()
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


class BadImage(Exception):
    """The file is not a complete picture. The message says why."""


class TooManyPixels(BadImage):
    """A decompression bomb, or a picture that is larger than its reader takes."""


# Pixels of the largest picture that is read, and of the largest one that is decoded beside others.
_limits: ContextVar[tuple[int, int]] = ContextVar("limits", default=(MOST_PIXELS_JPEG, LARGE))


@contextmanager
def at_most(pixels: int, beside_others: int) -> Iterator[None]:
    """Inside, refuse pictures of more pixels; decode those of more than `beside_others` in turn."""
    token = _limits.set((pixels, beside_others))
    try:
        yield
    finally:
        _limits.reset(token)


def recognise(prefix: bytes) -> str | None:
    """The format of a file that begins with these bytes; None if it is no known picture."""
    for start, name in (
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF87a", "GIF"),
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"II+\0", "TIFF"),
        (b"MM\0+", "TIFF"),
    ):
        if prefix.startswith(start):
            return name
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"WEBP":
        return "WEBP"
    if prefix[:2] == b"BM" and prefix[6:10] == bytes(4):
        return "BMP"
    if re.match(rb"P[1-6]\s+(#[^\n]*\n\s*)?\d+\s+\d+\s", prefix):
        return "PPM"
    return _of_boxes(prefix)


def _of_boxes(prefix: bytes) -> str | None:
    """HEIC or AVIF, which have the names of their kinds in the first box of the file."""
    if prefix[4:8] != b"ftyp":
        return None
    size = int.from_bytes(prefix[:4], "big")
    kinds = {prefix[8:12], *(prefix[i : i + 4] for i in range(16, min(size, len(prefix)), 4))}
    if kinds & {b"avif", b"avis"}:
        return AVIF
    heic = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1"}
    return HEIC if kinds & heic else None


def problem(name: str | None) -> str:
    """Why pictures of a format cannot be read on this machine; empty if they can."""
    if name == HEIC and importlib.util.find_spec("pillow_heif") is None:
        return f"HEIC, which needs {INSTALL_HEIF}"
    if name == AVIF and not _has_avif():
        return "AVIF, which this Pillow cannot read: pip install -U pillow"
    return ""


def _has_avif() -> bool:
    from PIL import features

    return bool(features.check("avif"))


@contextmanager
def opened(file: Path | IO[bytes], at_least: int = 0) -> Iterator[ImageFile]:
    """Open a picture to decode it.

    A JPEG file is decoded at a reduced size, of which the shorter side keeps twice `at_least`
    pixels, or at half the size if it is large. Pillow's own limit is a warning of the process, and
    lower than what telephones make.

    Raises:
        BadImage: the file is no picture of a format that is read, or has too many pixels.
    """
    with file.open("rb") if isinstance(file, Path) else nullcontext(file) as stream:
        picture = _identified(stream)
        width, height = picture.size
        jpeg = picture.format in ("JPEG", "MPO")
        most, beside_others = _limits.get()
        limit = min(MOST_PIXELS_JPEG if jpeg else MOST_PIXELS, most)
        if width * height > limit:
            raise TooManyPixels(
                f"a decompression bomb: {width}x{height} pixels, more than {limit:,} of them"
            )
        large = width * height > LARGE
        if jpeg and (at_least or large):
            scale = min(width, height) // (2 * at_least) if at_least else 1
            scale = max(2 if large else 1, scale)
            picture.draft("", (width // scale, height // scale))
        with _one_large_picture if width * height > beside_others else nullcontext():
            yield picture


def _identified(stream: IO[bytes]) -> ImageFile:
    """`Image.open` for FORMATS and HEIC, without Pillow's limit."""
    from PIL import Image

    stream.seek(0)
    prefix = stream.read(PREFIX)
    name = recognise(prefix)
    if reason := problem(name):
        raise BadImage(reason)
    if name == HEIC:
        return _heic(stream)
    Image.init()  # the first call registers all FORMATS
    for candidate in FORMATS:
        factory, accept = Image.OPEN[candidate]
        try:
            if accept is None or accept(prefix[:16]) is True:
                stream.seek(0)
                return factory(stream, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise BadImage("not an image that can be read")


def _heic(stream: IO[bytes]) -> Any:
    import pillow_heif

    try:
        stream.seek(0)
        return pillow_heif.HeifImageFile(stream, "")
    except Exception as error:  # of many classes
        raise BadImage(f"HEIC, and damaged: {error}") from None


def without_text(content: bytes) -> bytes:
    """A PNG file without its texts and its colour profile, which may be larger than Pillow's limit.

    Programs that draw pictures store what they did as text.
    """
    kept, position = [content[:8]], 8
    while position + 8 <= len(content):
        length = int.from_bytes(content[position : position + 4], "big")
        end = position + 12 + length
        if content[position + 4 : position + 8] not in _TEXT_CHUNKS:
            kept.append(content[position:end])
        position = end
    return b"".join(kept)


def has_too_much_text(error: Exception) -> bool:
    """Whether Pillow refused a PNG file because of the size of its texts."""
    return isinstance(error, ValueError) and any(
        text in str(error) for text in ("MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY", "text chunks")
    )


def reread(file: Path | IO[bytes]) -> io.BytesIO:
    """The content of a file from its beginning."""
    if isinstance(file, Path):
        return io.BytesIO(file.read_bytes())
    file.seek(0)
    return io.BytesIO(file.read())
