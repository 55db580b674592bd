"""How good an exported file is: its error, and how often it answers as the model does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.engines.exported import Exported
from reslab.evaluation.metrics import rate
from reslab.evaluation.tasks.registry import task_of
from reslab.formats.exportable import Exportable

IMAGES = 5_000, 1_000  # on which small and large networks are measured, at most
LARGE = 64 * 64  # pixels of an image from which a network is large
BATCH = 64
AGREEMENT = 0.9  # of the answers in eight bits, for a file to be written


@dataclass(frozen=True)
class Measurement:
    """The answers of a model to its images, with which those of files are compared."""

    source: Exportable

    @cached_property
    def positions(self) -> np.ndarray:
        """Of the images, in the sample of the model."""
        height, width, _ = self.source.shape
        return self.source.sample.spread(IMAGES[height * width > LARGE])

    @cached_property
    def keras(self) -> np.ndarray:
        """The answers of the model by Keras, as labels."""
        return self._answers(lambda images: self.source.expected(self.source.in_order(images)))

    def of(self, file: Exported) -> dict[str, Any]:
        """Measure a file.

        Returns:
            "images" and "measured_on", the "agreement" with Keras, and if there are labels the
            "error" of "keras" and of the "file"; rates with 95 % intervals. For several labels per
            image, all labels of all images are counted.
        """
        network = file.behind_view()
        raw = file.fixed_size  # then the order of the channels is changed in the file
        answers = self._answers(
            lambda images: network(images if raw else self.source.in_order(images))
        )
        result: dict[str, Any] = {
            "images": len(self.positions),
            "measured_on": self.source.sample.text,
            "agreement": _rate(answers == self.keras),
        }
        if (labels := self.source.sample.labels) is not None:
            expected = labels[self.positions]
            both = {"keras": self.keras, "file": answers}
            result["error"] = {name: _rate(a != expected) for name, a in both.items()}
        return result

    def _answers(self, run: Any) -> np.ndarray:
        task, parts = task_of(self.source.card), []
        for start in range(0, len(self.positions), BATCH):
            images = self.source.sample.read(self.positions[start : start + BATCH])
            parts.append(task.answers(run(images), self.source.card))
        return np.concatenate(parts)


def _rate(hits: np.ndarray) -> dict[str, float]:
    return rate(int(hits.sum()), hits.size)


def check_agreement(measured: dict[str, Any]) -> None:
    """Raise UserError if a file in eight bits answers too differently."""
    agreement = measured["agreement"]["value"]
    if agreement < AGREEMENT:
        raise UserError(
            f"the int8 file answers as the model does for {100 * agreement:.1f} % of "
            f"{measured['images']} images only, and {100 * AGREEMENT:.0f} % is the least"
        )
