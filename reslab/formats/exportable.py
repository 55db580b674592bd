"""What is exported: a model with its classes, and how pictures become the images that it takes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.core.files import RUN_FILE
from reslab.data.sources import hub
from reslab.engines.head import with_maps
from reslab.engines.rebuild import rebuild
from reslab.engines.runtimes import ModelForms
from reslab.evaluation.classifier import Classifier
from reslab.formats import calibrated, sample
from reslab.formats.sample import Sample
from reslab.formats.views import CentreView, ResizedView, View
from reslab.models import saved
from reslab.runs.run import Run, trained_file

EXAMPLES = 16  # images on which a file is compared with Keras


@dataclass(frozen=True)
class Exportable:
    """A trained model to export.

    Attributes:
        model: Maps images (n, height, width, channels) in 0..255 to probabilities (n, classes).
        view: How a picture of any size becomes such an image.
        card: The classes and all else that a user of the file has to know; JSON-serialisable.
        sample: Images of its data, or made ones.
        order: The order of the channels that `model` takes; pictures are RGB.
        run: The run that trained the model, if it is one.
        file: The file of the model; None if it was made from published weights.
    """

    model: keras.Model
    view: View
    card: Mapping[str, Any]
    sample: Sample
    order: str = "rgb"
    run: Run | None = None
    file: Path | None = None

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

    @cached_property
    def examples(self) -> np.ndarray:
        """Images for the comparison with Keras, uint8 (n, height, width, channels)."""
        return self.sample.read(np.arange(min(EXAMPLES, self.sample.length)))

    def in_order(self, images: np.ndarray) -> np.ndarray:
        """RGB or grey images with the channels in the order of the model."""
        return images[..., ::-1] if self.order == "bgr" else images


def of(
    model: str | os.PathLike[str] | Run,
    weights: str | Path | None = None,
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
    data: Any = None,
    temperature: bool = False,
) -> Exportable:
    """A run, a model file that reslab wrote, or a network with weights as what is exported.

    Its images are those of `data` if they are given, else the validation images of a run. With
    `temperature` its probabilities are softmax(logits / T), with the T of the run's evaluation.

    Raises:
        UserError: There is no trained model, its weights are not finite, or `data` do not fit it.
    """
    if weights is not None:
        if temperature:
            raise UserError(
                "a temperature is fitted on the validation images of a run, and published weights "
                "have none: leave --temperature out"
            )
        classifier = Classifier(str(model), weights, "backend", False, scheme, strict, ema)
        return _pretrained(classifier, str(model), weights, data)
    path = model.path if isinstance(model, Run) else Path(model)
    if hub.is_address(model):
        path = trained_file(path)
    run = Run.open(path) if (path / RUN_FILE).exists() else None
    file = run.trained_model() if run else path
    loaded, card = saved.load_with_card(file)
    height, width, channels = card["image_shape"]
    view = CentreView(height, width, margin=bool(card["view"]))
    if data is not None:
        images: Sample | None = sample.of_data(data, card, str(path))
    else:
        images = sample.of_run(run, card) if run else None
    found = images or sample.made((height, width, channels))
    source = Exportable(loaded, view, card, found, run=run, file=file)
    if not temperature:
        return source
    value = calibrated.temperature_of(run, path)
    calibrated.divide_logits(loaded, value, source.examples)
    return replace(source, card={**card, "temperature": value})


def _pretrained(classifier: Classifier, network: str, weights: str | Path, data: Any) -> Exportable:
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
    images = sample.made(shape) if data is None else sample.of_pictures(data, pre)
    return Exportable(model, view, card, images, pre.order)
