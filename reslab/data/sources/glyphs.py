"""`glyphs`: 62 classes of characters, rendered from fonts; needs no download.

The classes are 0-9, A-Z, a-z, in the order of EMNIST ByClass; images are 28x28 grey, white on
black. Parts are split by font family: the test part asks for type that was never seen. Letters
stand on one base line with capitals of one height, so that `o` and `O` differ by their size.

The rendering is integer arithmetic throughout: FreeType's, then a nearest-neighbour affine
transform in fixed point at 6x6 samples a pixel, then a box average. So the same versions give
the same bits on every machine.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.core.rng import Stream
from reslab.data.dataset import ArraySplit, Parts
from reslab.spec.catalogue import CHARACTERS

from . import fonts
from .download import cache_dir, write_atomically

if TYPE_CHECKING:
    from PIL import Image, ImageFont

SIZE = 28
_FORMAT = 1  # raise it when the rendering changes
_SAMPLES = 6  # a pixel's side, in samples
_CANVAS = SIZE * _SAMPLES
_CAPITAL = 15 * _SAMPLES  # height of an H
_BASELINE = 20.5 * _SAMPLES  # leaves 7 pixels below for descenders; a face may need more
_MARGIN = 2 * _SAMPLES  # kept free above and below: letters move by a pixel, and turn
_WIDEST = 22.5 * _SAMPLES  # a wider letter is narrowed
# Images of each class and family: 27 * 11, 6 * 8 and 7 * 10 a class.
_EACH = {"train": 11, "validation": 8, "test": 10}
_FAMILIES = {"train": fonts.TRAIN, "validation": fonts.VALIDATION, "test": fonts.TEST}


def load(seed: int, cache: Path | None) -> Parts:
    """Renders, or reads what an earlier call with the same seed and versions left in the cache.

    The test part is the same for every seed.
    """
    files = [fonts.find(f) for part in _FAMILIES.values() for f in part]
    key = _key(seed, [path for faces in files for path in faces.values()])
    path = cache_dir(cache) / "glyphs" / f"{key}.npz"
    arrays = _read(path)
    if arrays is None:
        arrays = {part: _render_part(part, seed) for part in _FAMILIES}
        _write(path, arrays)
    splits = {p: ArraySplit.of(a, _labels(p)) for p, a in arrays.items()}
    names = {p: [f.name for f in families] for p, families in _FAMILIES.items()}
    facts = {
        "split": "by font family: no family of validation or test is in training",
        "mirrors": False,
        "families": names,
        "rendered_by": _versions(),
    }
    return Parts(
        "glyphs",
        CHARACTERS,
        splits["train"],
        splits["test"],
        splits["validation"],
        facts=facts,
    )


def _labels(part: str) -> np.ndarray:
    """Images are ordered by family, then class, then copy."""
    each = np.repeat(np.arange(len(CHARACTERS)), _EACH[part])
    return np.tile(each, len(_FAMILIES[part]))


def _render_part(part: str, seed: int) -> np.ndarray:
    """uint8 (n, 28, 28)."""
    drawn = 0 if part == "test" else seed
    return np.concatenate([render(f, _EACH[part], drawn) for f in _FAMILIES[part]])


def render(family: fonts.Family, each: int, seed: int) -> np.ndarray:
    """uint8 (62 * each, 28, 28): `each` images of every character, its faces in turn."""
    faces = [Face(path, face) for face, path in fonts.find(family).items()]
    images = np.empty((len(CHARACTERS) * each, SIZE, SIZE), np.uint8)
    draw = Stream("glyphs", family.name, seed).uniform(len(images) * 4, -1, 1).reshape(-1, 4)
    for i, (angle, width, right, down) in enumerate(draw):
        face = faces[(i + i // each) % len(faces)]  # so that classes begin with different faces
        images[i] = face.image(CHARACTERS[i // each], angle * 8, 1 + width * 0.12, right, down)
    return images


class Face:
    """One font at the size at which its H is `_CAPITAL` high, or less if it would not fit."""

    def __init__(self, path: Path, face: str) -> None:
        weight = face.partition("@")[2]
        font = _open(path, _CAPITAL, weight)
        # Two rounds: the height of H is nearly, but not quite, proportional to the size.
        for _ in range(2):
            font = _open(path, font.size * _CAPITAL / _extent(font, "H")[0], weight)
        above, below = _extent(font, "".join(CHARACTERS))
        room = _CANVAS - 2 * _MARGIN
        if above + below > room:
            font = _open(path, math.floor(font.size * room / (above + below)), weight)
            above, below = _extent(font, "".join(CHARACTERS))
        self._font = font
        self._baseline = round(max(above + _MARGIN, min(_BASELINE, _CANVAS - _MARGIN - below)))
        self._drawn: dict[str, tuple[Image.Image, float]] = {}

    def _canvas(self, character: str) -> tuple[Image.Image, float]:
        """The character in the middle, on the base line, and how much it must be narrowed."""
        if character not in self._drawn:
            from PIL import Image, ImageDraw

            left, _, right, _ = self._font.getbbox(character, anchor="ls")
            # Twice as wide, so that a W that has to be narrowed is whole on it.
            image = Image.new("L", (2 * _CANVAS, _CANVAS))
            at = (_CANVAS - round((left + right) / 2), self._baseline)
            ImageDraw.Draw(image).text(at, character, fill=255, font=self._font, anchor="ls")
            self._drawn[character] = image, min(1.0, _WIDEST / (right - left))
        return self._drawn[character]

    def image(
        self, character: str, angle: float, width: float, right: float, down: float
    ) -> np.ndarray:
        """uint8 (28, 28): turned by `angle` degrees, `width` times as wide, moved by pixels."""
        from PIL import Image

        canvas, fit = self._canvas(character)
        radians = math.radians(angle)
        cos, sin = math.cos(radians), math.sin(radians)
        across = width * fit
        middle = _CANVAS / 2
        x, y = middle + right * _SAMPLES, middle + down * _SAMPLES
        # Pillow wants the way back: from a place in the result to its source.
        a, b, d, e = cos / across, sin / across, -sin, cos
        way = (a, b, _CANVAS - a * x - b * y, d, e, middle - d * x - e * y)
        turned = canvas.transform(
            (_CANVAS, _CANVAS), Image.Transform.AFFINE, way, Image.Resampling.NEAREST
        )
        return np.asarray(turned.reduce(_SAMPLES))


def _open(path: Path, size: float, weight: str) -> ImageFont.FreeTypeFont:
    """The font at a whole size; a variable one at this weight, its other axes at their default."""
    from PIL import ImageFont

    font = ImageFont.truetype(str(path), round(size), layout_engine=ImageFont.Layout.BASIC)
    if weight:
        axes = font.get_variation_axes()
        font.set_variation_by_axes(
            [float(weight) if a["name"] == b"Weight" else float(a["default"] or 0) for a in axes]
        )
    return font


def _extent(font: ImageFont.FreeTypeFont, characters: str) -> tuple[float, float]:
    """How far any of the characters reaches above and below the base line."""
    boxes = [font.getbbox(c, anchor="ls") for c in characters]
    return -min(box[1] for box in boxes), max(box[3] for box in boxes)


def _versions() -> dict[str, str]:
    import PIL
    from PIL import features

    return {"pillow": PIL.__version__, "freetype": str(features.version("freetype2"))}


def _key(seed: int, files: list[Path]) -> str:
    digest = hashlib.sha256(repr((_FORMAT, seed, _EACH, sorted(_versions().items()))).encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:32]


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The cached arrays; None where there are none, or where they are not what was written."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {part: file[part] for part in _FAMILIES}
            stored = file["sha256"].tobytes()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    return arrays if stored == _sum(arrays) else None


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A cache that cannot be written is no reason to stop: it is rendered again the next time."""
    stored = np.frombuffer(_sum(arrays), np.uint8)
    content: dict[str, Any] = {"sha256": stored, **arrays}
    with contextlib.suppress(OSError):
        write_atomically(path, lambda file: np.savez_compressed(file, **content))


def _sum(arrays: dict[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for part in sorted(arrays):
        digest.update(f"{part}{arrays[part].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[part]).data)
    return digest.digest()
