"""The slide "Code" of the deck, copied to Keras literally, against `characters_printed`."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from reslab.models.build import create

CONVOLUTION = keras.layers.Conv2D


def slide() -> keras.Model:
    """Images of 1x28x28 in channels_first; Keras's defaults wherever the slide uses them."""

    def conv(filters: int, strides: int, x: object) -> object:
        return CONVOLUTION(
            filters,
            3,
            strides=strides,
            padding="same",
            data_format="channels_first",
            kernel_initializer=keras.initializers.GlorotUniform(seed=0),
        )(x)

    inputs = x = keras.Input((1, 28, 28))
    for filters in (64, 128, 256, 512):
        y = layers.BatchNormalization()(x)
        y = layers.Activation("relu")(y)
        y = conv(filters, 2, y)
        y = layers.BatchNormalization()(y)
        y = layers.Activation("relu")(y)
        y = conv(filters, 1, y)
        y = CONVOLUTION(1, 1, data_format="channels_first")(y)
        x = layers.Add()([y, conv(filters, 2, x)])
    x = layers.Activation("relu")(x)
    x = layers.Flatten()(x)
    x = layers.Dense(512)(x)
    x = layers.Activation("relu")(x)
    return keras.Model(inputs, layers.Dense(62)(x))


@pytest.mark.core
def test_characters_printed_is_the_slide() -> None:
    if keras.backend.backend() == "tensorflow":
        pytest.skip("the slide's channels_first convolutions do not run on TensorFlow's CPU build")
    theirs, ours = slide(), create("characters_printed")
    assert ours.input_shape == theirs.input_shape
    shapes = [[tuple(w.shape) for w in model.get_weights()] for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    kernels = [
        [w for w in model.get_weights() if w.ndim == 4 and w.shape[0] == 3]
        for model in (ours, theirs)
    ]
    for a, b in zip(*kernels, strict=True):  # seeded kernels have the initial values of the slide
        np.testing.assert_array_equal(a, b)
    rng = np.random.default_rng(0)
    values = [rng.uniform(0.1, 0.2, w.shape).astype("float32") for w in theirs.get_weights()]
    theirs.set_weights(values)
    ours.set_weights(values)
    x = rng.normal(size=(4, 1, 28, 28)).astype("float32")
    expected = theirs.predict_on_batch(x)
    assert np.abs(ours.predict_on_batch(x) - expected).max() <= 1e-5 * np.abs(expected).max()
