"""The averaged outputs of several models."""

from __future__ import annotations

from collections.abc import Sequence

import keras


def averaged(models: Sequence[keras.Model]) -> keras.Model:
    """A model whose output is the mean of the outputs of whole models, which see one input.

    Args:
        models: Two or more models of the same input and output shapes, such as `reslab.load`
            gives: their outputs are probabilities.

    Returns:
        The model. It shares the layers of the given ones.
    """
    inputs = keras.Input(models[0].input_shape[1:], dtype=models[0].input.dtype)
    copies = [keras.Model(m.input, m.output, name=f"member{i}") for i, m in enumerate(models)]
    outputs = keras.layers.Average(dtype="float32")([model(inputs) for model in copies])
    return keras.Model(inputs, outputs, name="ensemble")
