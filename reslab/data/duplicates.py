"""Near-duplicates: the same picture saved again, in another size, or slightly changed.

Two pictures are near-duplicates if their perceptual hashes differ in at most `MOST_BITS` of 256
bits, and their colours, averaged over 4x4 cells, by at most `MOST_LEVELS` of 255. The hash (pHash,
Zauner 2010) keeps the signs of the lowest frequencies of a reduced grey picture. The library
imagehash computes it; the extra `duplicates` installs it.

Where more than a fifth of all pictures look alike (scans of one form, plain colours), the measure
does not fit the data: such groups are ignored.
"""

from __future__ import annotations

import importlib.util
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
MOST_LEVELS = 24
CELLS = 4  # on each side, for the colours
LARGEST = 0.2  # of all pictures, in a group
FEW = 5  # a group of so many pictures is never ignored
MOST_PICTURES = 20_000  # every picture is compared with every other: about ten seconds
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
    raw = b"".join(bytes.fromhex(hashes[i]) for i in positions)
    values = np.frombuffer(raw, np.uint8).reshape(len(positions), -1)
    bits = np.unpackbits(values[:, : SIDE * SIDE // 8], axis=1).astype(np.float32)
    colours = values[:, SIDE * SIDE // 8 :].astype(np.int32)
    ones = bits.sum(1)
    for start in range(0, len(positions), ROWS):
        rows = slice(start, start + ROWS)
        differing = ones[rows, None] + ones[None, :] - 2 * (bits[rows] @ bits.T)
        for row, b in np.argwhere(differing <= MOST_BITS).tolist():
            a = start + row
            if a < b and np.abs(colours[a] - colours[b]).max() <= MOST_LEVELS:
                pairs.append((positions[a], positions[b]))
    return pairs
