"""What is exported: a model with its classes, and how pictures become the images that it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE
from reslab.engines.head import with_maps
from reslab.engines.rebuild import rebuild
from reslab.engines.runtimes import ModelForms
from reslab.evaluation import recorded_data
from reslab.evaluation.classifier import Classifier
from reslab.formats.views import CentreView, ResizedView, View
from reslab.models import saved
from reslab.runs.run import Run

EXAMPLES = 16  # images on which a file is compared with Keras


@dataclass(frozen=True)
class Exportable:
    """A trained model to export.

    Attributes:
        model: Maps images (n, height, width, channels) in 0..255 to probabilities (n, classes).
        view: How a picture of any size becomes such an image.
        card: The classes and all else that a user of the file has to know; JSON-serialisable.
        examples: uint8 (n, height, width, channels), for the comparison.
        examples_are: What the examples are, for reports.
        order: The order of the channels that `model` takes; pictures are RGB.
    """

    model: keras.Model
    view: View
    card: Mapping[str, Any]
    examples: np.ndarray
    examples_are: str
    order: str = "rgb"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images."""
        height, width, channels = self.model.input_shape[1:]
        return int(height), int(width), int(channels)

    @cached_property
    def forms(self) -> ModelForms:
        """The model as a graph and in the form of each engine."""
        return ModelForms(self.model)

    def expected(self, images: np.ndarray) -> np.ndarray:
        """The probabilities by Keras, float32 (n, classes), for images as the model takes them."""
        return np.asarray(self.model.predict_on_batch(images.astype("float32")), "float32")

    @cached_property
    def maps(self) -> keras.Model:
        """From images to probabilities and class activation maps, by Keras. Raises NoMaps."""
        return rebuild(with_maps(self.forms.program))

    def in_order(self, images: np.ndarray) -> np.ndarray:
        """RGB or grey images with the channels in the order of the model."""
        return images[..., ::-1] if self.order == "bgr" else images


def of(
    model: str | os.PathLike[str] | Run,
    weights: str | Path | None = None,
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
) -> Exportable:
    """A run, a model file that reslab wrote, or a network with weights as what is exported.

    Raises:
        UserError: There is no trained model, or its weights are not finite.
    """
    if weights is not None:
        classifier = Classifier(str(model), weights, "backend", False, scheme, strict, ema)
        return _pretrained(classifier, str(model), weights)
    path = model.path if isinstance(model, Run) else Path(model)
    run = Run.open(path) if (path / RUN_FILE).exists() else None
    loaded, card = saved.load_with_card(run.trained_model() if run else path)
    height, width, channels = card["image_shape"]
    view = CentreView(height, width, margin=bool(card["view"]))
    examples, text = _examples(run, (height, width, channels))
    return Exportable(loaded, view, card, examples, text)


def _pretrained(classifier: Classifier, network: str, weights: str | Path) -> Exportable:
    pre = classifier.preprocessing
    shape = (pre.size, pre.size, 3)
    mean, std = np.asarray(pre.mean, "float32"), np.asarray(pre.std, "float32")
    model = saved.end_to_end(classifier.model, shape, mean, std)
    card = {
        "classes": list(classifier.classes),
        "image_shape": list(shape),
        "preprocessing": pre.encode(),
        "network": network,
        "weights": str(weights),
    }
    view = ResizedView(pre.size, pre.size, pre.resize, pre.interpolation)
    return Exportable(model, view, card, _made(shape), "made images", pre.order)


def _examples(run: Run | None, shape: tuple[int, int, int]) -> tuple[np.ndarray, str]:
    """Validation images of the run if its data are at hand, else made ones."""
    if run is not None:
        try:
            data = recorded_data.reload(run)
            part = data.validation or data.train
            images = part.images(np.arange(min(EXAMPLES, len(part))))
            if images.shape[1:] == shape:
                name = "validation" if data.validation else "training"
                return images, f"{name} images"
        except (UserError, OSError):  # the data are gone, or were made in Python
            pass
    return _made(shape), "made images"


def _made(shape: tuple[int, int, int]) -> np.ndarray:
    """Random pictures with structure at several scales, as photos have it."""
    height, width, channels = shape
    rng = np.random.default_rng(0)
    images = np.zeros((EXAMPLES, *shape))
    for step in (1, 4, 16, 64):
        rows, columns = -(-height // step), -(-width // step)
        blocks = rng.uniform(0, 64, (EXAMPLES, rows, columns, channels))
        images += blocks.repeat(step, 1).repeat(step, 2)[:, :height, :width]
    return images.astype(np.uint8)
