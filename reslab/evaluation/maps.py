"""Where in an image a classifier sees a class: class activation maps and Grad-CAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from reslab.acceleration.accelerate import fast_initialisation
from reslab.core.errors import UserError
from reslab.engines.folding import fold
from reslab.engines.head import NoMaps, split, with_maps
from reslab.engines.program import Program, Unsupported, flatten
from reslab.engines.rebuild import rebuild

CAM, GRAD_CAM = "class activation map", "Grad-CAM"


class ClassMaps:
    """The maps of a trained classifier, in inference mode, on Keras's backend.

    Where the head is global average pooling and one dense layer, these are the class activation
    maps (Zhou et al. 2016): their mean over the positions is the logit of the class. For any other
    head it is Grad-CAM (Selvaraju et al. 2017, Eq. 1 and 2) of the last feature maps: the positive
    part of their sum, weighted by the mean gradient of the logit. Both are equal up to the bias, a
    factor and the positive part where both exist.

    They are computed by a copy of the model out of Keras's own layers, so acceleration of the model
    does not matter, and later training does not change them.

    Attributes:
        method: `CAM` or `GRAD_CAM`.
    """

    def __init__(self, model: keras.Model, exact: bool = True) -> None:
        """Prepare a model. With `exact` False it is Grad-CAM for every head.

        Raises UserError for a model without feature maps.
        """
        try:
            program = fold(flatten(model))
            with fast_initialisation():
                self._compute, self.method = _exact(program) if exact else (None, GRAD_CAM)
                if self._compute is None:
                    self._compute, self.method = _by_gradients(program), GRAD_CAM
        except (NoMaps, Unsupported) as reason:
            raise UserError(f"{model.name} has no heatmaps: {reason}") from None

    def __call__(self, images: np.ndarray, classes: Any) -> np.ndarray:
        """The maps of one class for each image.

        Args:
            images: As the model takes them: (n, *input_shape).
            classes: The index of a class for each image, (n,).

        Returns:
            float32 (n, height, width), of the size of the last feature maps.
        """
        assert self._compute is not None
        return self._compute(np.asarray(images, "float32"), np.asarray(classes))


Compute = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _exact(program: Program) -> tuple[Compute | None, str]:
    try:
        model = rebuild(with_maps(program))
    except NoMaps:
        return None, ""

    def compute(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        _, maps = model.predict_on_batch(images)
        return np.asarray(maps, "float32")[np.arange(len(images)), ..., classes]

    return compute, CAM


def _by_gradients(program: Program) -> Compute:
    two = split(program)
    trunk, head = rebuild(two.trunk), rebuild(two.head)
    channels, positions = (1, (2, 3)) if two.channels_first else (3, (1, 2))

    def compute(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        features = np.array(trunk.predict_on_batch(images), "float32")
        gradients = _gradients(head, features, classes)
        weights = gradients.mean(positions, keepdims=True)
        return np.maximum((weights * features).sum(channels), 0)

    return compute


def _gradients(head: keras.Model, features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The gradient of the chosen logit of each image with respect to its feature maps."""
    chosen = np.eye(head.output_shape[-1], dtype="float32")[classes]
    backend = keras.backend.backend()

    def total(x: Any) -> Any:
        return keras.ops.sum(head(x, training=False) * keras.ops.convert_to_tensor(chosen))

    x = keras.ops.convert_to_tensor(features)
    if backend == "torch":
        import torch

        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(total(x), x)
        return np.asarray(gradient.cpu().numpy())
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(total)(x))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = total(x)
    return np.asarray(tape.gradient(value, x))
