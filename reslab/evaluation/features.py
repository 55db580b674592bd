"""The features of images: what a trained network gives to its last layer with weights."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from reslab.acceleration.accelerate import accelerate
from reslab.data import Split
from reslab.engines.program import IDENTITIES
from reslab.evaluation.scoring import outputs


def features(model: keras.Model, split: Split, positions: np.ndarray) -> np.ndarray | None:
    """The features of the images at these positions, float32 (m, d).

    Args:
        model: A whole model, from raw images to probabilities, as `saved.end_to_end` makes it.
        split: Raw images.
        positions: int (m,).

    Returns:
        The input of the last layer with weights, averaged over height and width if it has some.
        None if the model is not a chain of layers around one network.
    """
    extractor = _extractor(model)
    if extractor is None:
        return None
    examined = split if len(positions) == len(split) else split.take(positions)
    return outputs(extractor, examined)


def feature_maps(model: keras.Model) -> keras.Model | None:
    """From raw images to the feature maps that are averaged for the last layer, in NHWC.

    None if the network does not end in global average pooling and one dense layer.
    """
    network, last = _network(model), last_layer(model)
    if network is None or not isinstance(last, keras.layers.Dense):
        return None
    end = network.layers[: network.layers.index(last)]
    while end and isinstance(end[-1], IDENTITIES):
        end.pop()
    pool = end[-1] if end else None
    if not isinstance(pool, keras.layers.GlobalAveragePooling2D) or pool.keepdims:
        return None
    if network.layers[-1] is not last or not isinstance(pool.input, keras.KerasTensor):
        return None
    inputs = keras.Input(model.input_shape[1:])
    x = _through(model, network, pool.input, inputs)
    if pool.data_format == "channels_first":
        x = keras.ops.transpose(x, (0, 2, 3, 1))
    return accelerate(keras.Model(inputs, x, name=f"{network.name}_maps"))


def _through(model: keras.Model, network: keras.Model, output: Any, inputs: Any) -> Any:
    """An inner output of the network in a whole model, from the inputs of the whole."""
    x = inputs
    for layer in model.layers[1 : model.layers.index(network)]:
        x = layer(x)
    return keras.Model(network.input, output, name="features")(x)


def last_layer(model: keras.Model) -> keras.Layer | None:
    """The last layer with weights of the network in a whole model; None if it has no such form."""
    network = _network(model)
    layers = reversed(network.layers) if network is not None else ()
    return next((layer for layer in layers if _has_kernel(layer)), None)


def _network(model: keras.Model) -> keras.Model | None:
    networks = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    return networks[0] if len(networks) == 1 else None


def _extractor(model: keras.Model) -> keras.Model | None:
    """A model of the same layers, from raw images to features."""
    network, last = _network(model), last_layer(model)
    if network is None or last is None or not isinstance(last.input, keras.KerasTensor):
        return None
    inputs = keras.Input(model.input_shape[1:])
    x = _through(model, network, last.input, inputs)
    if len(x.shape) > 2:
        channels_last = keras.config.image_data_format() == "channels_last"
        if isinstance(last, keras.layers.Conv2D):
            channels_last = last.data_format == "channels_last"
        x = keras.ops.mean(x, axis=(1, 2) if channels_last else (2, 3))
    return accelerate(keras.Model(inputs, x, name=f"{network.name}_features"))


def _has_kernel(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.Dense | keras.layers.Conv2D)
