"""A split that stays: the part of an image depends on its content and on the seed alone.

Every image has a key: a digest of its file, or of the group that it belongs to. A hash of the seed,
the part and the key is a number from 0 to 1, and the images below the fraction of the part are in
it. So no image changes its part when others are added, removed, renamed, or get another class.

Each image is drawn on its own. Of n images a fraction f is therefore chosen up to a few standard
deviations sqrt(n f (1 - f)), in each class as well as in total.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import numpy as np

from reslab.core.errors import UserError

CONTENT, STRATIFIED = "content", "stratified"  # the rules by which a folder is split


def digest(content: bytes) -> int:
    """64 bits that identify these bytes."""
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def array_digests(images: np.ndarray) -> np.ndarray:
    """uint64 (n,): the digest of the bytes and the shape of each image, uint8 (n, h, w, c)."""
    shape = repr(images.shape[1:]).encode()
    rows = (np.ascontiguousarray(image).tobytes() for image in images)
    return np.fromiter((digest(shape + row) for row in rows), np.uint64, len(images))


def file_digests(checksums: Iterable[str]) -> np.ndarray:
    """uint64 (n,): from the sha256 of each file, as hexadecimal digits."""
    return np.array([int(checksum[:16], 16) for checksum in checksums], np.uint64)


def chosen(keys: np.ndarray, wanted: float, seed: int, part: str) -> np.ndarray:
    """Choose the images of a part.

    Args:
        keys: uint64 (n,). Images with equal keys come into the same part.
        wanted: The fraction below 1 of the images; or their number, which takes the keys with the
            smallest hashes and may exceed the number by a part of one group.
        seed: Of the split.
        part: "test" or "validation".

    Returns:
        bool (n,).
    """
    prefix = f"{seed} {part} ".encode()
    distinct, which = np.unique(keys, return_inverse=True)
    hashes = np.array([digest(prefix + key.tobytes()) for key in distinct.astype("<u8")], np.uint64)
    places = (hashes >> np.uint64(11)) * 2.0**-53
    if wanted < 1:
        return np.asarray(places[which] < wanted)
    order = np.argsort(places, kind="stable")
    sizes = np.bincount(which, minlength=len(distinct))[order]
    groups = int(np.searchsorted(np.cumsum(sizes), wanted)) + 1
    return np.isin(which, order[:groups])


def group_keys(names: Sequence[str], pattern: str, digests: np.ndarray) -> np.ndarray:
    """The key of the group of each file.

    Args:
        names: File names relative to the data folder, with /.
        pattern: A regular expression that is searched in each name. Files with the same text in its
            first group (or in the whole match, if it has no group) belong together.
        digests: uint64 (n,): the keys of the files that the pattern does not match.

    Returns:
        uint64 (n,).

    Raises:
        UserError: The pattern is no regular expression, or matches no file.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group {pattern!r} is not a regular expression: {error}") from None
    keys, matches = digests.copy(), 0
    for i, name in enumerate(names):
        if match := expression.search(name):
            text = match.group(1 if expression.groups else 0) or ""
            keys[i] = digest(f"group {text}".encode())
            matches += 1
    if names and not matches:
        raise UserError(
            f"--group {pattern!r} matches none of the {len(names):,} files, such as {names[0]!r}: "
            "give a regular expression, such as '(patient[0-9]+)_'"
        )
    return keys


def joined(
    keys: np.ndarray, pairs: Iterable[tuple[int, int]], largest: int | None = None
) -> np.ndarray:
    """The keys after the images of each pair were brought together.

    Images that are connected by equal keys or by pairs get the smallest key among them.

    Args:
        keys: uint64 (n,).
        pairs: Positions of two images that belong together.
        largest: Images keep their own keys where more than so many would come together.

    Returns:
        uint64 (n,).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    distinct, which = np.unique(keys, return_inverse=True)
    ends = which[np.array(list(pairs), np.int64).reshape(-1, 2)]
    graph = coo_array((np.ones(len(ends)), ends.T), shape=(len(distinct),) * 2)
    _, component = connected_components(graph, directed=False)
    _, first = np.unique(component, return_index=True)  # distinct keys are sorted: the smallest
    merged = first[component][which]
    if largest is not None:
        merged = np.where(np.bincount(merged)[merged] > largest, which, merged)
    return np.asarray(distinct[merged])


def equal_pairs(digests: np.ndarray) -> list[tuple[int, int]]:
    """Pairs that connect all images with equal digests."""
    order = np.argsort(digests, kind="stable")
    same = np.flatnonzero(digests[order][1:] == digests[order][:-1])
    return [(int(order[i]), int(order[i + 1])) for i in same]
