"""Data sets that are read into memory as a whole: checked, resized, and with their checksum."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reslab.core.errors import UserError

from . import content
from .dataset import ArraySplit, Parts
from .images import Size, resize_array, sides
from .splits import counts


def arrays(
    parts: Parts, size: Size | None, channels: int | None, known: Sequence[str] | None
) -> Parts:
    """Check and convert data in memory, and compute their checksum."""
    splits = {"train": parts.train, "validation": parts.validation, "test": parts.test}
    in_parts = {k: s for k, s in splits.items() if isinstance(s, ArraySplit)}
    for part, split in in_parts.items():
        lacking = [n for n, count in counts(split.labels, parts.classes).items() if not count]
        if not len(split):
            raise UserError(f"{parts.name}: the {part} part has no images")
        if lacking and part == "train" and known is None:
            raise UserError(f"{parts.name}: the {part} part has no image of class {lacking[0]!r}")
    if len(parts.classes) < 2 and known is None:
        raise UserError(f"{parts.name} has {len(parts.classes)} class; at least two are needed")
    checksum = _checksum(parts.classes, in_parts)
    converted: dict[str, Any] = {k: _convert(s, size, channels) for k, s in in_parts.items()}
    return replace(parts, checksum=checksum, **converted)


def _checksum(classes: tuple[str, ...], splits: dict[str, ArraySplit]) -> str:
    digest = hashlib.sha256(repr(classes).encode())
    for part, split in splits.items():
        digest.update(f"{part}{split.array.shape}".encode())
        digest.update(np.ascontiguousarray(split.array).data)
        digest.update(split.labels.astype("<i4").tobytes())
    return digest.hexdigest()


def _convert(split: ArraySplit, size: Size | None, channels: int | None) -> ArraySplit:
    height, width, depth = split.image_shape
    if channels in (None, depth) and (size is None or sides(size) == (height, width)):
        return split
    digests = content.array_digests(split.array)
    resized = resize_array(split.array, size, channels or depth)
    return replace(split, array=resized, row_digests=digests)
