"""What a data set is once it is loaded, whatever it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import numpy as np


class Split(Protocol):
    """One part of a data set: labels in memory, images by position."""

    @property
    def labels(self) -> np.ndarray:
        """int32 (n,)."""
        ...

    @property
    def names(self) -> Sequence[str] | None:
        """File names relative to the data's folder, where there are files."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(h, w, c)."""
        ...

    def __len__(self) -> int: ...

    def images(self, indices: Any) -> np.ndarray:
        """uint8 (k, h, w, c): the un-augmented views."""
        ...

    def take(self, indices: np.ndarray) -> Self:
        """The part at these positions, in their order."""
        ...

    def join(self, other: Any) -> Self:
        """This part, then another of the same kind."""
        ...


@dataclass(frozen=True, eq=False)
class ArraySplit:
    """Images in memory. Parts of it share the array: `positions` says which rows are its own."""

    array: np.ndarray  # uint8 (N, h, w, c)
    labels: np.ndarray  # int32 (n,)
    positions: np.ndarray  # int64 (n,), rows of `array`
    names: Sequence[str] | None = None

    @classmethod
    def of(cls, array: np.ndarray, labels: np.ndarray) -> ArraySplit:
        """All rows of `array`; grey images may come as (n, h, w)."""
        if array.ndim == 3:
            array = array[..., None]
        return cls(array, np.asarray(labels, np.int32), np.arange(len(labels)))

    @property
    def image_shape(self) -> tuple[int, int, int]:
        _, height, width, channels = self.array.shape
        return height, width, channels

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, indices: Any) -> np.ndarray:
        return self.array[self.positions[indices]]

    def take(self, indices: np.ndarray) -> Self:
        return replace(self, labels=self.labels[indices], positions=self.positions[indices])

    def join(self, other: ArraySplit) -> Self:
        array = np.concatenate([split.array[split.positions] for split in (self, other)])
        labels = np.concatenate([self.labels, other.labels])
        return replace(self, array=array, labels=labels, positions=np.arange(len(labels)))


@dataclass(frozen=True, eq=False)
class Parts:
    """What a source's reader hands over, before validation is carved and images are converted."""

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split | None
    validation: Split | None = None
    checksum: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Data:
    """A data set, split, with what is needed to report it and to load it again.

    `checksum` is a sha256 over what was read before anything was carved or resized: for arrays
    the bytes of every image and label, for folders each file's relative path and the sha256 of
    its bytes. `facts` and `provenance` are JSON; `load(**provenance)` gives the same data.
    """

    name: str
    source: str
    classes: tuple[str, ...]
    image_shape: tuple[int, int, int]  # (h, w, c) of what the splits yield
    train: Split
    validation: Split | None
    test: Split | None
    checksum: str
    facts: dict[str, Any]
    provenance: dict[str, Any]
