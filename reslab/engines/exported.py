"""An exported file that is open: uint8 pictures in, the first output out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypedDict

import numpy as np
from msgspec import Meta

from reslab.core import records
from reslab.core.errors import UserError, one_line

CARD = "reslab"  # the key of the card in the metadata


Run = Callable[[np.ndarray], np.ndarray]


class ExportCard(TypedDict):
    """What a file of reslab says of itself. It may have more."""

    classes: Annotated[list[str], Meta(min_length=1)]
    image_shape: Annotated[
        list[Annotated[int, Meta(gt=0, le=2**20)]], Meta(min_length=3, max_length=3)
    ]
    any_size: bool


@dataclass(frozen=True)
class Exported:
    """An exported file that is open.

    Attributes:
        run: Maps pictures, uint8 (n, height, width, channels), to the first output of the file.
        metadata: Texts in the file, by name.
        path: The file.
        runtime: The package that runs it.
        maps: Maps such pictures to the class activation maps, (n, rows, columns, classes); None if
            the file has no such output.
        network: Makes `run` for the part behind the view: from images as the model takes them, of
            its size and with channels in its order.
    """

    run: Run
    metadata: Mapping[str, str]
    path: Path
    runtime: str
    maps: Run | None = None
    network: Callable[[], Run] | None = None

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """The first output. Raises UserError if the file cannot run on these pictures."""
        try:
            return self.run(pictures)
        except Exception as error:  # each runtime has classes of its own
            raise UserError(
                f"{self.path} does not run on pictures of {pictures.shape}: {one_line(error)}"
            ) from None

    def behind_view(self) -> Exported:
        """The part of the file that takes images of the size of the model."""
        if self.fixed_size or self.network is None:
            return self
        return replace(self, run=self.network(), network=None)

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """The output, checked: (n, classes). Raises UserError if it is anything else."""
        output, classes = self(pictures), len(self.card["classes"])
        if output.shape != (len(pictures), classes):
            raise UserError(
                f"{self.path} is damaged: it names {classes} classes and gives {output.shape} for "
                f"{len(pictures)} pictures"
            )
        return output

    @cached_property
    def card(self) -> dict[str, Any]:
        """The classes and the view. Raises UserError if reslab did not export the file."""
        if CARD not in self.metadata:
            raise UserError(f"{self.path} was not exported by reslab: it does not say its classes")
        try:
            card: dict[str, Any] = records.parse(self.metadata[CARD])
            records.check(card, ExportCard)
        except records.Damaged as error:
            raise UserError(f"{self.path} is damaged: its card: {error}") from None
        return card

    @property
    def fixed_size(self) -> bool:
        """Whether it takes images of the size of the model only."""
        return not self.card["any_size"]
