"""Classes are matched by their names: those of data with those of a model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from reslab.core.errors import UserError

from .dataset import MULTILABEL, Data, Parts

D = TypeVar("D", Data, Parts)


def normal(name: str) -> str:
    """The name in the composed form of Unicode, in which equal names are equal texts."""
    return unicodedata.normalize("NFC", name)


UNKNOWN = -1  # stands for 0 or 1 where it is not known whether an image has a label


def match(data: D, classes: Sequence[str], owner: str, all_known: bool = True) -> D:
    """The data with these classes, in this order. The data may lack some of them.

    Of several labels in columns, a label without a column is `UNKNOWN` for all images.

    Args:
        data: The data.
        classes: The names of the classes.
        owner: What has these classes, for messages.
        all_known: Whether labels without a column are an error.

    Raises:
        UserError: The data have another class, or lack a column.
    """
    if tuple(data.classes) == tuple(classes):
        return data
    position = {normal(name): i for i, name in enumerate(classes)}
    new = [name for name in data.classes if normal(name) not in position]
    if new:
        names = ", ".join(f"{name!r} is new" for name in new[:2])
        more = f" and so are {len(new) - 2} more" if new[2:] else ""
        raise UserError(
            f"{data.name} has other classes than {owner}: {names}{more}; it knows "
            f"{', '.join(classes[:6])}{' and others' if classes[6:] else ''}"
        )
    lacking = sorted(position.keys() - {normal(name) for name in data.classes})
    absent = UNKNOWN if data.column_per_label else 0
    if absent == UNKNOWN and all_known and lacking:
        raise UserError(
            f"{data.name} has no column for the label {lacking[0]!r} of {owner}: add it, with 0 and"
            " 1"
        )
    numbers = np.array([position[normal(name)] for name in data.classes], np.int32)
    parts = {part: getattr(data, part) for part in ("train", "validation", "test")}
    renumbered: dict[str, Any] = {
        part: split
        and replace(split, labels=_renumbered(split.labels, numbers, len(classes), absent))
        for part, split in parts.items()
    }
    return replace(data, classes=tuple(classes), **renumbered)


def as_rows(data: Data) -> Data:
    """Data with one class per image as several labels per image, of which each image has one."""
    parts = {part: getattr(data, part) for part in ("train", "validation", "test")}
    identity = np.eye(len(data.classes), dtype=np.int32)
    rows: dict[str, Any] = {
        part: split and replace(split, labels=identity[split.labels])
        for part, split in parts.items()
    }
    return replace(data, task=MULTILABEL, **rows)


def _renumbered(labels: np.ndarray, numbers: np.ndarray, classes: int, absent: int) -> np.ndarray:
    if labels.ndim == 1:
        return numbers[labels]
    vectors = np.full((len(labels), classes), absent, labels.dtype)
    vectors[:, numbers] = labels
    return vectors
