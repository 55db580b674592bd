"""A network with weights, from image files to probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from reslab.core.errors import UserError
from reslab.engines.inference import inference
from reslab.weights import registry, transfer
from reslab.weights.preprocessing import Preprocessing
from reslab.weights.pretrained import create, log


class Classifier:
    """Classifies image files with a network of the zoo and given weights.

    The arguments are those of `reslab.create` and `reslab.inference`.
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
        self.preprocessing, classes = about.preprocessing, about.classes
        if self.preprocessing is None:
            log.warning(
                "%s does not say how images are preprocessed: using that of torchvision's first "
                "weights (shorter side 256, centre crop 224, ImageNet's mean and std)",
                weights,
            )
            self.preprocessing = Preprocessing()
            classes = registry.imagenet_classes() if count == 1000 else None
        self.classes = classes or tuple(f"class {i}" for i in range(count))
        self.run = inference(self.model, engine, compare)

    def __call__(self, files: Sequence[Path | IO[bytes]]) -> np.ndarray:
        """Probabilities, float32 (n, classes). Raises BadImage for a file that is no image."""
        assert self.preprocessing is not None
        images = np.stack([self.preprocessing.picture(file) for file in files])
        batch = self.preprocessing.normalise(images)
        logits = self.run(batch)
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)
