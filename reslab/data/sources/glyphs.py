"""`glyphs`: 62 classes of characters in 40 font families. It needs no download.

The classes are 0-9, A-Z and a-z, in the order of EMNIST ByClass. Images are 28x28 grey, white on
black. The parts are split by font family: no font of validation or test is in training. Letters
stand on one baseline and capitals have one height, so that `o` and `O` differ in size.

The package contains a mask of each character in each face (`glyphs.npz`, which
scripts/draw_glyphs.py draws from the fonts). Images are drawn from the masks in integer
arithmetic, so they are the same, bit for bit, on every machine and with every version of NumPy.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.core.files import write_cache
from reslab.core.paths import regular
from reslab.core.records import Damaged
from reslab.core.rng import Stream
from reslab.data.dataset import ArraySplit, Parts
from reslab.spec.catalogue import CHARACTERS

from . import npz
from .download import cache_dir

VERSION = 2  # recorded in runs; raise it when the images change
MASKS = Path(__file__).with_name("glyphs.npz")
SIZE = 28
_SCALE = 6  # a pixel's side on the canvas of the masks
_CANVAS = SIZE * _SCALE
_WIDEST = 22.5 * _SCALE  # a wider character is narrowed
_WHITE = 15  # in the masks
_BOX = 3  # the side of the squares over which masks are summed; a pixel takes 2x2 of these sums
_BORDER = 4  # of zeros around a mask: what is outside of its frame is read as the frame's edge
_ONE = 1 << 16  # in fixed-point numbers
# Images of each class and family: 27 * 11, 6 * 8 and 7 * 10 of a class.
_EACH = {"train": 11, "validation": 8, "test": 10}


@dataclass(frozen=True, eq=False)
class Face:
    """The masks of one face: uint8 (height, width) with values 0 to 15, cropped."""

    name: str  # the file name, for a variable font with @ and the weight
    masks: Sequence[np.ndarray]
    tops: np.ndarray  # int64 (62,), the masks' first rows on the canvas

    @property
    def widths(self) -> np.ndarray:
        """int64 (62,)."""
        return np.array([mask.shape[1] for mask in self.masks])

    @cached_property
    def frames(self) -> np.ndarray:
        """The sums over 3x3 pixels: int32 (62, height, width). Masks are centred by columns."""
        bottom = max(top + len(mask) for top, mask in zip(self.tops, self.masks, strict=True))
        height, width = int(bottom - self.tops.min()), int(self.widths.max())
        frames = np.zeros((len(self.masks), height + 2 * _BORDER, width + 2 * _BORDER), np.int32)
        rows = self.tops - self.tops.min() + _BORDER
        columns = (width - self.widths) // 2 + _BORDER
        for frame, mask, row, column in zip(frames, self.masks, rows, columns, strict=True):
            frame[row : row + mask.shape[0], column : column + mask.shape[1]] = mask
        frames = frames[:, :-2] + frames[:, 1:-1] + frames[:, 2:]
        return frames[:, :, :-2] + frames[:, :, 1:-1] + frames[:, :, 2:]

    def draw(
        self,
        characters: np.ndarray,
        angles: np.ndarray,
        stretches: np.ndarray,
        right: np.ndarray,
        down: np.ndarray,
    ) -> np.ndarray:
        """Draw `n` images.

        Args:
            characters: int (n,), positions in CHARACTERS.
            angles: float (n,), clockwise, in degrees.
            stretches: float (n,), factors of the width.
            right: float (n,), shifts in pixels.
            down: float (n,), shifts in pixels.

        Returns:
            uint8 (n, 28, 28).
        """
        widths = self.widths
        stretches = stretches * np.minimum(1.0, _WIDEST / widths)[characters]
        # From the canvas to the frame: x' = a x + b y, y' = d x + e y, about the centre.
        cosines, sines = np.cos(np.radians(angles)), np.sin(np.radians(angles))
        a, b, d, e = cosines / stretches, sines / stretches, -sines, cosines
        frame_x = _BORDER + (widths.max() - widths) // 2 + widths / 2
        frame_y = _BORDER + _CANVAS / 2 - self.tops.min()
        total = np.zeros((len(characters), SIZE, SIZE), np.int64)
        for offset_y in (_BOX / 2, _SCALE - _BOX / 2):
            for offset_x in (_BOX / 2, _SCALE - _BOX / 2):
                x = offset_x - _CANVAS / 2 - right * _SCALE
                y = offset_y - _CANVAS / 2 - down * _SCALE
                # A sum over pixels k to k + 2 has its centre at k + 1.5.
                columns = _grid(a, b, a * x + b * y + frame_x[characters] - _BOX / 2)
                rows = _grid(d, e, d * x + e * y + frame_y - _BOX / 2)
                total += _bilinear(self.frames, characters, rows, columns)
        white = 4 * _WHITE * _BOX**2 * 256**2
        return ((total * 255 + white // 2) // white).astype(np.uint8)


def _grid(across: np.ndarray, along: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """across x + along y + origin at each pixel: fixed-point int32 (n, 28, 28)."""
    across, along, origin = (
        np.rint(values * _ONE).astype(np.int32)[:, None, None]
        for values in (across * _SCALE, along * _SCALE, origin)
    )
    steps = np.arange(SIZE, dtype=np.int32)
    return across * steps + along * steps[:, None] + origin


def _bilinear(
    frames: np.ndarray, characters: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """The frames' values, times 256**2, between pixels at these fixed-point coordinates."""
    _, height, width = frames.shape
    rows = np.clip(rows, 0, (height - 1) * _ONE - 1)
    columns = np.clip(columns, 0, (width - 1) * _ONE - 1)
    corner = (rows >> 16) * width + (columns >> 16)
    corner += (characters * (height * width)).astype(np.int32)[:, None, None]
    down, right = (rows >> 8) & 255, (columns >> 8) & 255
    pixels = frames.ravel()
    upper = pixels[corner]
    upper = (upper << 8) + (pixels[corner + 1] - upper) * right
    lower = pixels[corner + width]
    lower = (lower << 8) + (pixels[corner + width + 1] - lower) * right
    return (upper << 8) + (lower - upper) * down


def load(seed: int, cache: Path | None) -> Parts:
    """Draw the images, or read them from the cache.

    The test part is the same for every seed.
    """
    content = MASKS.read_bytes()
    path = cache_dir(cache) / "glyphs" / f"{_key(seed, content)}.npz"
    arrays = _read(path)
    if arrays is None:
        arrays = _draw(faces(content), seed)
        _write(path, arrays)
    names = families(content)
    splits = {p: ArraySplit.of(a, _labels(p, len(names[p]))) for p, a in arrays.items()}
    facts = {
        "split": "by font family: no family of validation or test is in training",
        "mirrors": False,
        "version": VERSION,
        "families": names,
    }
    return Parts(
        "glyphs",
        CHARACTERS,
        splits["train"],
        splits["test"],
        splits["validation"],
        facts=facts,
    )


def _labels(part: str, n: int) -> np.ndarray:
    """Images are ordered by family, then class, then copy."""
    return np.tile(np.repeat(np.arange(len(CHARACTERS)), _EACH[part]), n)


def _draw(parts: dict[str, dict[str, list[Face]]], seed: int) -> dict[str, np.ndarray]:
    """uint8 (n, 28, 28) for each part."""
    seeds = {"train": seed, "validation": seed, "test": 0}
    return {
        part: np.concatenate(
            [draw_family(f, n, _EACH[part], seeds[part]) for n, f in named.items()]
        )
        for part, named in parts.items()
    }


def draw_family(family: Sequence[Face], name: str, each: int, seed: int) -> np.ndarray:
    """uint8 (62 * each, 28, 28): `each` images of every character, with the faces in turn."""
    n = len(CHARACTERS) * each
    images = np.empty((n, SIZE, SIZE), np.uint8)
    angles, widths, right, down = (
        Stream("glyphs", name, seed).uniform(n * 4, -1, 1).reshape(-1, 4).T
    )
    characters = np.arange(n) // each
    turns = (np.arange(n) + characters) % len(family)  # classes start with different faces
    for number, face in enumerate(family):
        i = np.flatnonzero(turns == number)
        images[i] = face.draw(characters[i], angles[i] * 8, 1 + widths[i] * 0.12, right[i], down[i])
    return images


def faces(content: bytes) -> dict[str, dict[str, list[Face]]]:
    """The faces of each part and family, from the content of the file MASKS."""
    try:
        return _faces(npz.read(content, ("heights", "widths", "faces", "tops", "levels")))
    except (Damaged, TypeError, ValueError, IndexError, AttributeError) as error:
        raise UserError(f"{MASKS} is damaged: {error}; install reslab again") from None


def _faces(file: Mapping[str, np.ndarray]) -> dict[str, dict[str, list[Face]]]:
    shapes = np.stack([file["heights"], file["widths"]], axis=-1).astype(np.int64)
    names, tops, levels = file["faces"].tolist(), file["tops"].astype(np.int64), file["levels"]
    sizes = shapes.prod(-1)
    if levels.dtype != np.uint8 or levels.ndim != 1 or int(sizes.sum()) != levels.size:
        raise Damaged("the masks are not as long as they say")
    if shapes.min(initial=1) < 1 or tops.shape != sizes.shape or len(names) != len(sizes):
        raise Damaged("the faces have no masks")
    ends = np.cumsum(sizes).reshape(sizes.shape)
    parts: dict[str, dict[str, list[Face]]] = {}
    for i, name in enumerate(names):
        part, family, file_name = name.split("/")
        masks = [
            levels[end - height * width : end].reshape(height, width)
            for end, (height, width) in zip(ends[i], shapes[i], strict=True)
        ]
        parts.setdefault(part, {}).setdefault(family, []).append(Face(file_name, masks, tops[i]))
    return parts


def families(content: bytes) -> dict[str, list[str]]:
    """The font families of each part."""
    try:
        named = npz.read(content, ["faces"])["faces"].tolist()
        names = [name.split("/") for name in named]
        if any(len(name) != 3 for name in names):
            raise Damaged("a face has no part, family and file")
    except (Damaged, TypeError, AttributeError) as error:
        raise UserError(f"{MASKS} is damaged: {error}; install reslab again") from None
    return {part: list(dict.fromkeys(n[1] for n in names if n[0] == part)) for part in _EACH}


def _key(seed: int, content: bytes) -> str:
    text = repr((VERSION, seed, _EACH, hashlib.sha256(content).hexdigest()))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, np.ndarray] | None:
    """The cached arrays. None if there are none, or if they are not as they were written."""
    try:
        arrays = npz.read(regular(path).read_bytes(), (*_EACH, "sha256"))
    except (OSError, Damaged):
        return None
    checksum = arrays.pop("sha256").tobytes()
    return arrays if checksum == _checksum(arrays) else None


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """A cache that cannot be written is no error: the images are drawn again the next time."""
    checksum = np.frombuffer(_checksum(arrays), np.uint8)
    content: dict[str, Any] = {"sha256": checksum, **arrays}
    write_cache(path, lambda temp: np.savez_compressed(temp, **content))


def _checksum(arrays: dict[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for part in sorted(arrays):
        digest.update(f"{part}{arrays[part].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[part]).data)
    return digest.digest()
