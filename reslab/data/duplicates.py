"""Near-duplicates: the same picture saved again, in another size, or slightly changed.

Two pictures are near-duplicates if their perceptual hashes differ in at most `MOST_BITS` of 256
bits, and their colours, averaged over 4x4 cells, by at most `MOST_LEVELS` of 255. The hash (pHash,
Zauner 2010) keeps the signs of the lowest frequencies of a reduced grey picture. The library
imagehash computes it; the extra `duplicates` installs it.

Where more than a fifth of all pictures look alike (scans of one form, plain colours), the measure
does not fit the data: such groups are ignored.

Pictures of different parts of the data are compared in `nearest`, by a stricter limit: it looks at
far more pairs, and nobody wants a list of pictures that are only similar.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from reslab.core.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SIDE = 16  # a hash has SIDE * SIDE bits
PIXELS = 4 * SIDE  # of the reduced picture
# bench/near_duplicates.py: 99 % of the copies that were saved as JPEG of quality 60, halved, or
# made 5 % brighter differ in at most 20 bits, and 99.99 % of other pairs in 54 or more.
MOST_BITS = 32
ACROSS_BITS = 20  # the limit of `nearest`
MOST_LEVELS = 24
CELLS = 4  # on each side, for the colours
BYTES = SIDE * SIDE // 8 + 3 * CELLS**2  # of a hash with its colours
LARGEST = 0.2  # of all pictures, in a group
FEW = 5  # a group of so many pictures is never ignored
MOST_PICTURES = 20_000  # every picture is compared with every other: about ten seconds
NUMBERS = 2**24  # of bits that differ, in memory at once
ROWS = 1024  # that are compared with all others at once, which bounds the memory
INSTALL = 'pip install "reslab[duplicates]"'


def installed() -> bool:
    """Whether near-duplicates can be found."""
    return importlib.util.find_spec("imagehash") is not None


def resolve(wanted: bool | None) -> bool:
    """Whether to look for near-duplicates; by default if the library is installed.

    Raises UserError if they are wanted, and the library is missing.
    """
    if wanted and not installed():
        raise UserError(f"near-duplicates are found with imagehash: {INSTALL}")
    return installed() if wanted is None else wanted


def perceptual_hash(picture: Picture) -> str:
    """64 hexadecimal digits of the hash, then two for each mean colour of the 4x4 cells."""
    import imagehash
    from PIL.Image import Resampling

    colours = picture.convert("RGB").resize((CELLS, CELLS), Resampling.BOX).tobytes()
    return str(imagehash.phash(picture.convert("L"), hash_size=SIDE)) + colours.hex()


def near_pairs(hashes: list[str]) -> list[tuple[int, int]]:
    """The pairs of positions whose pictures are near-duplicates.

    Of many pictures with one and the same hash, each is paired with the first only. Of more than
    MOST_PICTURES pictures only those with the same hash are found.
    """
    first: dict[str, int] = {}
    pairs = [(first[h], i) for i, h in enumerate(hashes) if first.setdefault(h, i) != i]
    if len(first) > MOST_PICTURES:
        return pairs
    positions = list(first.values())
    bits, colours = _parts(as_bytes(hashes[i] for i in positions))
    for start in range(0, len(positions), ROWS):
        differing = _differing(bits[start : start + ROWS], bits)
        for row, b in np.argwhere(differing <= MOST_BITS).tolist():
            a = start + row
            if a < b and np.abs(colours[a] - colours[b]).max() <= MOST_LEVELS:
                pairs.append((positions[a], positions[b]))
    return pairs


def as_bytes(hashes: Iterable[str]) -> np.ndarray:
    """Hashes as uint8 (n, BYTES)."""
    return np.frombuffer(b"".join(map(bytes.fromhex, hashes)), np.uint8).reshape(-1, BYTES)


def of_images(images: np.ndarray) -> np.ndarray:
    """The hashes of images, uint8 (n, h, w, 1 or 3): uint8 (n, BYTES)."""
    from PIL import Image

    grey = images.shape[-1] == 1
    return as_bytes(perceptual_hash(Image.fromarray(i[..., 0] if grey else i)) for i in images)


def nearest(hashes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each picture of one part of the data its nearest near-duplicate in another part.

    Args:
        hashes: uint8 (m, BYTES).
        others: uint8 (n, BYTES).

    Returns:
        int (k, 3): the position, that of its nearest near-duplicate, and the bits in which they
        differ, at most ACROSS_BITS. Pictures without a near-duplicate are left out.
    """
    pairs = []
    (bits, colours), (other_bits, other_colours) = _parts(hashes), _parts(others)
    rows = max(1, min(ROWS, NUMBERS // max(1, len(others))))
    for start in range(0, len(bits), rows):
        differing = _differing(bits[start : start + rows], other_bits)
        for row in np.flatnonzero((differing <= ACROSS_BITS).any(1)).tolist():
            near = np.flatnonzero(differing[row] <= ACROSS_BITS)
            levels = np.abs(other_colours[near] - colours[start + row]).max(1)
            near = near[levels <= MOST_LEVELS]
            if near.size:
                best = near[np.argmin(differing[row, near])]
                pairs.append((start + row, int(best), int(differing[row, best])))
    return np.array(pairs, np.int64).reshape(-1, 3)


def _parts(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bits, float32 (n, SIDE * SIDE), and the colours, int32 (n, 3 * CELLS ** 2)."""
    bits = np.unpackbits(hashes[:, : SIDE * SIDE // 8], axis=1).astype(np.float32)
    return bits, hashes[:, SIDE * SIDE // 8 :].astype(np.int32)


def _differing(bits: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The number of differing bits of every pair: float32 (m, n), whole numbers."""
    same = bits @ others.T
    return np.asarray(bits.sum(1)[:, None] + others.sum(1)[None, :] - 2 * same)
