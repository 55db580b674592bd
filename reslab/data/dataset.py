"""A loaded data set: `Data`, its parts (`Split`), and parts in memory (`ArraySplit`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, Self

import numpy as np

from .content import array_digests

CLASSIFICATION, MULTILABEL = "classification", "multilabel"  # what the labels are for


PARTS = {  # the names of parts in public data sets
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}


class Split(Protocol):
    """One part of a data set (training, validation or test): labels, and images by position."""

    @property
    def labels(self) -> np.ndarray:
        """The class of each image, int32 (n,); of several labels 0 or 1, int32 (n, classes)."""
        ...

    @property
    def names(self) -> Sequence[str] | None:
        """File names relative to the folder of the data. None for arrays."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of each image."""
        ...

    @property
    def digests(self) -> np.ndarray:
        """What identifies each image: uint64 (n,), from the bytes of its file or of its pixels."""
        ...

    def __len__(self) -> int: ...

    def images(self, indices: Any) -> np.ndarray:
        """Read images without augmentation.

        Args:
            indices: positions: a slice or an integer array.

        Returns:
            uint8 (k, h, w, c).
        """
        ...

    def take(self, indices: np.ndarray) -> Self:
        """Return a split of the images at these positions, int (k,), in this order."""
        ...

    def join(self, other: Any) -> Self:
        """Return a split of the images of this split, followed by those of another of its class."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """A split whose images are in memory.

    Splits of one data set may share an array.

    Args:
        array: uint8 (N, h, w, c).
        labels: int32 (n,), the class of each image; or int32 (n, classes), 1 for each label of an
            image and else 0.
        positions: int64 (n,), the rows of `array` that belong to the split.
        names: file names, if there are files.
        row_digests: uint64 (N,), the digest of each row of `array` before it was resized. None:
            computed from the array when they are needed.
    """

    array: np.ndarray
    labels: np.ndarray
    positions: np.ndarray
    names: Sequence[str] | None = None
    row_digests: np.ndarray | None = None

    @classmethod
    def of(cls, array: np.ndarray, labels: np.ndarray) -> ArraySplit:
        """Make a split of all rows of an array.

        Args:
            array: uint8 (n, h, w, c), or (n, h, w) for grey images.
            labels: int (n,), from 0; or 0 and 1, (n, classes), for several labels of an image.

        Returns:
            The split.
        """
        if array.ndim == 3:
            array = array[..., None]
        return cls(array, np.asarray(labels, np.int32), np.arange(len(labels)))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, height, width, channels = self.array.shape
        return height, width, channels

    @cached_property
    def digests(self) -> np.ndarray:
        if self.row_digests is not None:
            return self.row_digests[self.positions]
        return array_digests(self.array[self.positions])

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: Any) -> np.ndarray:
        return self.array[self.positions[indices]]

    def take(self, indices: np.ndarray) -> Self:
        return replace(self, labels=self.labels[indices], positions=self.positions[indices])

    def join(self, other: ArraySplit) -> Self:
        array = np.concatenate([split.array[split.positions] for split in (self, other)])
        labels = np.concatenate([self.labels, other.labels])
        positions = np.arange(len(labels))
        digests = None
        if self.row_digests is not None and other.row_digests is not None:
            digests = np.concatenate([self.digests, other.digests])
        return replace(self, array=array, labels=labels, positions=positions, row_digests=digests)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a reader returns, before a validation part is split off and images are converted."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split | None
    validation: Split | None = None
    checksum: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    task: str = CLASSIFICATION
    column_per_label: bool = False


@dataclass(frozen=True, eq=False)
class Data:
    """A data set with its splits, and what is needed to report it and to load it again.

    `reslab.data.load` makes it. Your own arrays become one with `ArraySplit.of`.

    Args:
        name: a short name, for reports.
        source: the argument of `load`.
        classes: class names, in the order of the labels.
        image_shape: (height, width, channels) of the images of all splits.
        train: the training part.
        validation: the part that chooses the epoch, or None.
        test: the part that is evaluated once, or None.
        checksum: sha256 of what was read, before splitting and resizing: for arrays the bytes of
            all images and labels, for folders the relative path and the sha256 of each file.
        facts: for reports; JSON-serialisable.
        provenance: JSON-serialisable arguments: `load(**provenance)` gives the same data. Empty if
            the data were made in Python.
        task: "classification" if each image has one class, "multilabel" if it can have several
            labels or none.
        column_per_label: whether the labels are columns of 0 and 1: of a label without a column
            nothing is known. Otherwise an image does not have the labels that it does not name.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]
    train: Split
    validation: Split | None
    test: Split | None
    checksum: str
    facts: dict[str, Any]
    provenance: dict[str, Any]
    task: str = CLASSIFICATION
    column_per_label: bool = False
