"""A network with weights, from image files to probabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.engines.inference import inference
from reslab.weights import registry, transfer
from reslab.weights.preprocessing import Preprocessing
from reslab.weights.pretrained import create, log


class Runner(Protocol):
    """Runs a network on an engine, as `reslab.inference` returns it."""

    engine: str

    def __call__(self, images: Any) -> Any: ...


Prepare = Callable[[keras.Model], Runner]  # such as `reslab.inference`


class Classifier:
    """Classifies images with a network of the zoo and given weights.

    The arguments are those of `reslab.create` and `reslab.inference`; `prepare` takes the place of
    the latter.

    Attributes:
        model: The network, from normalised images to logits.
        preprocessing: How pictures become its images.
        classes: The names of the classes.
        run: The network on an engine.
    """

    def __init__(
        self,
        network: str,
        weights: str | Path,
        engine: str = "auto",
        compare: bool = True,
        scheme: str = "auto",
        strict: bool = True,
        ema: bool = True,
        prepare: Prepare | None = None,
    ) -> None:
        self.model = create(
            network,
            data_format="channels_last",
            weights=weights,
            scheme=scheme,
            strict=strict,
            ema=ema,
        )
        about = transfer.about(self.model)
        count = about.network.classes or 0
        if about.network.input_shape[2] != 3:
            raise UserError(f"{about.network.name} does not take colour images")
        preprocessing, classes = about.preprocessing, about.classes
        if preprocessing is None:
            log.warning(
                "%s does not say how images are preprocessed: using that of torchvision's first "
                "weights (shorter side 256, centre crop 224, ImageNet's mean and std)",
                weights,
            )
            preprocessing = Preprocessing()
            classes = registry.imagenet_classes() if count == 1000 else None
        self.preprocessing: Preprocessing = preprocessing
        self.classes = classes or tuple(f"class {i}" for i in range(count))
        self.run: Runner = (
            prepare(self.model) if prepare else inference(self.model, engine, compare)
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (n, classes), of RGB images (n, height, width, 3) in 0..255."""
        logits = self.run(self.preprocessing.normalise(images))
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
