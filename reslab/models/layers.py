"""Layers that Keras lacks, registered so that saved models load."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("reslab")
class LocalResponseNormalization(keras.layers.Layer):
    """Local response normalisation across channels (Krizhevsky 2012, Sec. 3.3).

    The output is x / (k + alpha * sum of x^2 over `size` neighbouring channels) ^ beta, and has the
    shape of the input: (n, h, w, c), or (n, c, h, w) with `data_format="channels_first"`. Near the
    first and the last channel the sum has fewer terms.
    """

    def __init__(
        self,
        size: int = 5,
        alpha: float = 1e-4,
        beta: float = 0.75,
        k: float = 2.0,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k
        self.data_format = data_format or keras.config.image_data_format()

    def call(self, x: Any) -> Any:
        axis = 1 if self.data_format == "channels_first" else -1
        channels = x.shape[axis]
        before = self.size // 2
        pads = [(0, 0)] * 4
        pads[axis] = (before, self.size - 1 - before)
        squares = ops.pad(ops.square(x), pads)
        total = sum(
            squares[:, i : i + channels] if axis == 1 else squares[..., i : i + channels]
            for i in range(self.size)
        )
        return x / ops.power(self.k + self.alpha * total, self.beta)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        names = ("size", "alpha", "beta", "k", "data_format")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
