"""The model that a server serves: from bytes and arrays to outputs, many pictures at once."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE
from reslab.data import formats
from reslab.data.formats import BadImage, TooManyPixels
from reslab.engines.runtimes import threads_of_engines
from reslab.evaluation.predictor import Predictor, open_predictor
from reslab.runs.run import Run
from reslab.serving.refused import Refused
from reslab.serving.settings import MOST_BATCH, ServerSettings

BESIDE_OTHERS = 12_000_000  # pixels; larger pictures are decoded one at a time
# Files that resize by themselves hold a picture in float32, several times.
MOST_PIXELS_WHOLE = 24_000_000  # of one picture, after a JPEG decoder reduced it
MOST_PIXELS_BATCH = 4_000_000  # of a batch


class ServedModel:
    """A trained model under a name.

    Attributes:
        name: Its name in addresses.
        predictor: The model.
        most_pixels: The pixels of the largest picture.
        trained_by: The run that trained the model, if it is known.
    """

    def __init__(
        self, name: str, predictor: Predictor, most_pixels: int, run: Run | None = None
    ) -> None:
        self.name, self.predictor = name, predictor
        self.most_pixels, self.trained_by = most_pixels, run
        self.classes: list[str] = list(predictor.card["classes"])

    @classmethod
    def load(cls, settings: ServerSettings, threads: int) -> ServedModel:
        """Open the model. Raises UserError if it cannot be read."""
        from reslab.serving.engine import FixedEngine

        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        with threads_of_engines(threads):
            predictor = open_predictor(
                settings.model,
                settings.weights,
                partial(FixedEngine, engine=settings.engine),
                settings.engine,
                settings.scheme,
                settings.strict,
                settings.ema,
                by_pillow=True,
            )
        folder = Path(settings.model).parent
        known = settings.weights is None and (folder / RUN_FILE).exists()
        run = Run.open(folder) if known else None
        return cls(settings.model_name, predictor, settings.limits.pixels, run)

    def page(self) -> str:
        """The page that sends pictures to `/predict`, and says what the model is."""
        from reslab.formats import page

        return page.posting(self.predictor.card, self.trained_by, "/predict")

    def warm(self) -> None:
        """Run batches of 1, 2, 4, ..., 32, so that no request waits for a compilation.

        Raises UserError if the model gives NaN or infinity.
        """
        images = np.random.default_rng(0).integers(
            0, 256, (MOST_BATCH, *self.predictor.image_shape), np.uint8
        )
        for i in range(MOST_BATCH.bit_length()):
            for output in self.run(list(images[: 2**i])):
                if isinstance(output, Exception):
                    raise UserError(f"{self.name} cannot be served: {output}")

    def read(self, content: bytes, name: str) -> np.ndarray:
        """Decode an encoded picture. Raises Refused."""
        try:
            with formats.at_most(self.most_pixels, BESIDE_OTHERS):
                image = self.predictor.read(io.BytesIO(content))
        except TooManyPixels as error:
            raise Refused(413, f"{name} is too large: {error}") from None
        except BadImage as error:
            raise Refused(400, f"{name} cannot be read: {error}") from None
        self._check_whole(image, name)
        return image

    def fit(self, images: np.ndarray) -> list[np.ndarray]:
        """Cut and scale decoded pictures, uint8 (n, height, width, channels). Raises Refused."""
        self._check_whole(images[0], "a picture")
        return [self.predictor.fit(image) for image in images]

    def _check_whole(self, image: np.ndarray, name: str) -> None:
        height, width, _ = image.shape
        if self.predictor.any_size and height * width > MOST_PIXELS_WHOLE:
            raise Refused(
                413,
                f"{name} is too large: {width}x{height} pixels; exported files that resize take "
                f"{MOST_PIXELS_WHOLE:,}",
            )

    def run(self, images: Sequence[np.ndarray]) -> list[np.ndarray | Exception]:
        """The outputs for images that `read` or `fit` returned, or the reason why there is none."""
        results: list[Any] = [None] * len(images)
        for part in self._batches(images):
            outputs = self._run([images[i] for i in part])
            for i, output in zip(part, outputs, strict=True):
                results[i] = output
        return results

    def _run(self, images: list[np.ndarray]) -> list[np.ndarray | Exception]:
        try:
            outputs = self.predictor.run(images)
        except Exception as error:  # of the engine, of any class
            if len(images) > 1:  # one picture must not spoil the others
                return [self._run([image])[0] for image in images]
            return [error]
        finite = np.isfinite(outputs).all(axis=1)
        return [
            output if good else UserError("the model gives NaN or infinity for this picture")
            for output, good in zip(outputs, finite, strict=True)
        ]

    def _batches(self, images: Sequence[np.ndarray]) -> Iterator[list[int]]:
        """The positions of images that can run in one batch: those of one size."""
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            by_shape.setdefault(image.shape, []).append(i)
        for (height, width, _), positions in by_shape.items():
            most = MOST_BATCH
            if self.predictor.any_size:
                most = max(1, min(most, MOST_PIXELS_BATCH // (height * width)))
            for start in range(0, len(positions), most):
                yield positions[start : start + most]

    def predictions(self, output: np.ndarray, top: int | None) -> list[dict[str, Any]]:
        """As `reslab.predict` returns them for one image."""
        return self.predictor.task.predictions(output, self.predictor.card, top)
