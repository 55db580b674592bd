"""Test images that look like training or validation images: the test error is too small for them.

Files have their perceptual hashes from the check when they are loaded. Hashes of images in memory
are computed here, of samples within a budget. The extra `duplicates` installs the library.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reslab.data import duplicates
from reslab.evaluation import rows
from reslab.evaluation.suspects import sample

if TYPE_CHECKING:
    from reslab.data import Data, Split

PAIRS = 12  # that are kept with pictures
# Hashing an image in memory takes 0.2 ms, and comparing a pair 20 ns.
FEWEST_HASHED, MOST_HASHED = 2048, 40_000
STEPS_PER_HASH = 16  # images of the training's steps for each image that is hashed
MOST_COMPARED = 2 * 10**8
MOST_STORED = 200_000  # hashes of files of a part, which take 1 KiB each in memory


@dataclass(frozen=True)
class _Part:
    """The examined images of a part, and their hashes."""

    name: str
    split: Split
    positions: np.ndarray
    hashes: np.ndarray


def find(split: Split, data: Data, trained_on: int) -> dict[str, Any] | None:
    """What evaluation.json holds as "near_duplicates"; None if they cannot be looked for.

    Args:
        split: The evaluated test images.
        data: The data of the run.
        trained_on: The images of all steps of the training, which bound the time: on a CPU it is
            about 1 % of that of the training.

    Returns:
        The examined test images ("images" of "of") and other ones ("others" of "others_of"), the
        "count" of test images with a near-duplicate, how many "differ" in the label, and the first
        "pairs" with their differing "bits": other labels first, then the most similar.
    """
    splits = [("test", split), ("train", data.train), ("validation", data.validation)]
    present = [(name, part) for name, part in splits if part is not None and len(part)]
    hashed = _with_hashes(present, trained_on)
    if len(hashed) < 2:
        return None
    test, *others = hashed
    known = np.concatenate([part.hashes for part in others])
    budget = min(MOST_COMPARED, 10**7 + 250 * trained_on)
    chosen = sample(len(test.hashes), max(1, budget // len(known)))
    pairs: list[tuple[int, Place, Place]] = [
        (bits, (split, "test", int(test.positions[chosen[i]])), _located(others, j))
        for i, j, bits in duplicates.nearest(test.hashes[chosen], known).tolist()
    ]
    differ = [not np.array_equal(_label(a), _label(b)) for _, a, b in pairs]
    order = sorted(range(len(pairs)), key=lambda k: (not differ[k], pairs[k][0]))
    return {
        "images": len(chosen),
        "of": len(split),
        "others": len(known),
        "others_of": sum(len(part) for _, part in present[1:]),
        "count": len(pairs),
        "differ": sum(differ),
        "pairs": [_row(*pairs[k], data.classes) for k in order[:PAIRS]],
    }


def _with_hashes(splits: list[tuple[str, Split]], trained_on: int) -> list[_Part]:
    """The parts with the hashes of their files, or of samples of the images in memory.

    The first part is the test part, which gets up to half of the budget. The list is empty if the
    library is missing, or near-duplicates were not wanted when the files were loaded.
    """
    stored = [getattr(part, "hashes", None) for _, part in splits]
    if all(hashes is not None for hashes in stored):
        at = [sample(len(part), MOST_STORED) for _, part in splits]
        each = zip(splits, at, stored, strict=True)
        return [_Part(name, part, rows, np.asarray(h)[rows]) for (name, part), rows, h in each]
    if not duplicates.installed() or not all(hasattr(part, "array") for _, part in splits):
        return []
    most = min(MOST_HASHED, max(FEWEST_HASHED, trained_on // STEPS_PER_HASH))
    first = min(len(splits[0][1]), most // 2)
    fraction = min(1.0, (most - first) / max(1, sum(len(part) for _, part in splits[1:])))
    parts = []
    for i, (name, part) in enumerate(splits):
        count = first if i == 0 else math.ceil(fraction * len(part))
        positions = sample(len(part), count)
        hashes = duplicates.of_images(part.images(positions))
        parts.append(_Part(name, part, positions, hashes))
    return parts


Place = tuple["Split", str, int]


def _located(parts: list[_Part], position: int) -> Place:
    """The part and the index of an image among the examined ones of all parts."""
    for part in parts:
        if position < len(part.positions):
            return part.split, part.name, int(part.positions[position])
        position -= len(part.positions)
    raise IndexError(position)


def _label(place: Place) -> np.ndarray:
    split, _, index = place
    return np.asarray(split.labels[index])


def _row(bits: int, test: Place, other: Place, classes: tuple[str, ...]) -> dict[str, Any]:
    return {"bits": bits, "test": _picture(test, classes), "other": _picture(other, classes)}


def _picture(place: Place, classes: tuple[str, ...]) -> dict[str, Any]:
    split, name, index = place
    label = _label(place)
    named = (
        [classes[int(label)]]
        if label.ndim == 0
        else [classes[c] for c in np.flatnonzero(label == 1).tolist()]
    )
    return {"split": name, **rows.picture(split, index), "true": ", ".join(named) or "no label"}
