"""A network with weights, from image files to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from reslab.core.errors import UserError
from reslab.engines.inference import inference
from reslab.weights import registry, transfer
from reslab.weights.preprocessing import Preprocessing
from reslab.weights.pretrained import create, log


class Classifier:
    """A network with weights, from files of pictures to probabilities of classes."""

    def __init__(
        self, network: str, weights: str | Path, engine: str = "auto", compare: bool = True
    ) -> None:
        self.model = create(network, data_format="channels_last", weights=weights)
        known = transfer.about(self.model)
        width = known.network.classes or 0
        if known.network.input_shape[2] != 3:
            raise UserError(f"{known.network.name} does not take colour pictures")
        self.how, names = known.preprocessing, known.classes
        if self.how is None:
            log.warning(
                "%s does not say how pictures are prepared: taken as torchvision's first weights "
                "are (shorter side 256, middle 224, ImageNet's mean and deviation)",
                weights,
            )
            self.how = Preprocessing()
            names = registry.imagenet_classes() if width == 1000 else None
        self.classes = names or tuple(f"class {i}" for i in range(width))
        self.run = inference(self.model, engine, compare)

    def __call__(self, files: Sequence[Path]) -> np.ndarray:
        """float32 (n, classes). Raises BadImage for what is no picture."""
        assert self.how is not None
        batch = self.how.normalise(np.stack([self.how.picture(file) for file in files]))
        logits = self.run(batch)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
