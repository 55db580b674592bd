"""Layers of model files that earlier versions wrote, registered so that the files load."""

from __future__ import annotations

from typing import Any

import keras

from reslab.acceleration.local_response import LocalResponse


@keras.saving.register_keras_serializable("reslab")
class LocalResponseNormalization(keras.layers.Layer):
    """Local response normalisation as a layer; networks now have a model of stock operations."""

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
        return self.as_operations()(x)

    def as_operations(self) -> LocalResponse:
        axis = 1 if self.data_format == "channels_first" else 3
        return LocalResponse(self.size, self.alpha, self.beta, self.k, axis)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        names = ("size", "alpha", "beta", "k", "data_format")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
