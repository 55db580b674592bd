"""Compare any Keras model with its accelerated version: outputs, gradients and states."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers, ops

import reslab
from reslab.models.build import create


def torch_only() -> Any:
    """Return PyTorch, or skip the test on other backends."""
    if keras.backend.backend() != "torch":
        pytest.skip("needs the PyTorch backend")
    import torch

    return torch


def both(model: keras.Model, x: np.ndarray, **options: Any) -> list[dict[str, np.ndarray]]:
    """Run one batch on stock Keras and on the accelerated model, from the same weights.

    Returns for each the output, all gradients, and the non-trainable variables afterwards.
    """
    before, results = model.get_weights(), []
    for undo in (True, False):
        model.set_weights(before)
        reslab.accelerate(model, undo=undo)
        y, to_input, gradients = derivatives(model, x, **options)
        arrays = {"output": y, "input gradient": to_input}
        paths = [v.path for v in model.trainable_variables]
        arrays |= {f"gradient of {p}": g for p, g in zip(paths, gradients, strict=True)}
        arrays |= {v.path: v.value for v in model.non_trainable_variables if "seed" not in v.path}
        results.append({k: array(v) for k, v in arrays.items()})
    model.set_weights(before)
    return results


def objective(y: Any) -> Any:
    """Return a weighted sum of an output and its squares. Its gradient depends on every weight."""
    weights = ops.reshape(ops.linspace(-1.0, 1.0, ops.size(y)), y.shape)
    y = ops.cast(y, "float32")
    return ops.sum((y + y * y) * weights)


def derivatives(model: keras.Model, x: np.ndarray, **options: Any) -> tuple[Any, Any, Any]:
    """Return the output, and the gradients of its `objective` for the input and the weights."""
    weights = [v.value for v in model.trainable_variables]
    if keras.backend.backend() == "torch":
        import torch

        inputs = torch.tensor(x, requires_grad=True)
        y = model(inputs, **options)
        to_input, *gradients = torch.autograd.grad(objective(y), [inputs, *weights])
        return y, to_input, gradients
    import tensorflow as tf

    inputs = tf.Variable(x)
    with tf.GradientTape() as tape:
        y = model(inputs, **options)
        total = objective(y)
    to_input, *gradients = tape.gradient(total, [inputs, *weights])
    return y, to_input, gradients


def array(x: Any) -> np.ndarray:
    """Convert a tensor of the backend to a float32 array."""
    return np.array(keras.ops.convert_to_numpy(keras.ops.cast(x, "float32")))


def nets() -> dict[str, Any]:
    """Return two residual networks, a nested model with rare layers, and one with shared layers."""
    i = keras.Input((9, 8, 6))
    odd = layers.ZeroPadding2D(2)(i)
    odd = layers.Conv2D(8, 5, strides=2, activation="relu")(odd)
    odd = layers.BatchNormalization(scale=False)(odd)
    left = layers.Conv2D(4, (3, 2), padding="same", dilation_rate=(1, 2), groups=2)(odd)
    right = layers.MaxPooling2D(1, 1)(layers.MaxPooling2D(3, 1, padding="same")(odd))
    both = layers.Concatenate()([left, right, layers.AveragePooling2D(3, 1, "same")(odd)])
    both = layers.ReLU(max_value=6)(layers.BatchNormalization(center=False, momentum=0.7)(both))
    vector = layers.Dense(5, activation="tanh")(layers.Flatten()(both))
    vector = layers.BatchNormalization()(vector)
    inner = keras.Model(i, layers.Dense(4)(vector), name="inner")
    # the backward pass reads the output of an activation: no sum and no ReLU may overwrite it
    k = keras.Input((9, 8, 6))
    guide = layers.Conv2D(6, 3, padding="same", activation="relu")(k)
    guide = layers.Add()([guide, k])
    guide = layers.ReLU()(layers.Conv2D(6, 3, activation="sigmoid")(guide))
    again = layers.BatchNormalization(momentum=0.6)
    guide = layers.Add()([again(guide), again(layers.Conv2D(6, 1)(guide))])
    means = [layers.AveragePooling2D(size, 2, "same")(guide) for size in (2, 3)]
    means.append(layers.GlobalAveragePooling2D(keepdims=True)(guide))
    guide = layers.Multiply()([layers.MaxPooling2D(1, 2)(guide), *means])
    guide = layers.AveragePooling2D(2)(guide)
    guide = layers.Dense(4)(layers.GlobalAveragePooling2D()(guide))
    j = keras.Input((9, 8, 6))
    twice = layers.Add()([inner(j), inner(j * 0.5, training=False)])
    outer = keras.Model(j, layers.Activation("sigmoid")(twice))
    return {
        "resnet20": create("resnet20", input_shape=(16, 16, 6)),
        "resnet20_first": create("resnet20", input_shape=(6, 9, 8), data_format="channels_first"),
        "odd": outer,
        "guide": keras.Model(k, guide),
    }
