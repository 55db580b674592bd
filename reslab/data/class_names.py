"""Classes are matched by their names: those of data with those of a model."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from reslab.core.errors import UserError

from .dataset import Data, Parts

D = TypeVar("D", Data, Parts)


def normal(name: str) -> str:
    """The name in the composed form of Unicode, in which equal names are equal texts."""
    return unicodedata.normalize("NFC", name)


def match(data: D, classes: Sequence[str], owner: str) -> D:
    """The data with these classes, in this order. The data may lack some of them.

    Raises:
        UserError: The data have another class. The message calls the classes those of `owner`.
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
    numbers = np.array([position[normal(name)] for name in data.classes], np.int32)
    parts = {part: getattr(data, part) for part in ("train", "validation", "test")}
    renumbered: dict[str, Any] = {
        part: split and replace(split, labels=_renumbered(split.labels, numbers, len(classes)))
        for part, split in parts.items()
    }
    return replace(data, classes=tuple(classes), **renumbered)


def _renumbered(labels: np.ndarray, numbers: np.ndarray, classes: int) -> np.ndarray:
    if labels.ndim == 1:
        return numbers[labels]
    vectors = np.zeros((len(labels), classes), labels.dtype)
    vectors[:, numbers] = labels
    return vectors
