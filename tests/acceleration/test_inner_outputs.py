"""Inner tensors of accelerated models as outputs, with gradients: as in stock Keras."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

import reslab
from tests.helpers.reference import randomise

pytestmark = pytest.mark.core
BACKEND = keras.backend.backend()
X = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype("float32")


def values_and_gradient(model: keras.Model) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The inner output, the gradient of its mean square, and that of a logit for it on PyTorch.

    The second is with respect to the images, through the inner tensor (a feature loss).
    """

    def loss(x: Any) -> Any:
        return ops.mean(ops.square(model(x)[0]))

    if BACKEND == "torch":
        import torch

        x = torch.tensor(X, requires_grad=True, device=model.variables[0].value.device)
        inner, outer = model(x)
        by_inner = torch.autograd.grad(outer[:, 0].sum(), inner, retain_graph=True)[0]
        by_images = torch.autograd.grad(ops.mean(ops.square(inner)), x)[0]
        return (
            ops.convert_to_numpy(inner),
            ops.convert_to_numpy(by_images),
            ops.convert_to_numpy(by_inner),
        )
    if BACKEND == "jax":
        import jax

        return np.asarray(model(X)[0]), np.asarray(jax.grad(loss)(X)), None
    import tensorflow as tf

    with tf.GradientTape(persistent=True) as tape:
        x = tf.constant(X)
        tape.watch(x)
        inner, outer = model(x)
        square, logit = ops.mean(ops.square(inner)), ops.sum(outer[:, 0])
    return inner.numpy(), tape.gradient(square, x).numpy(), tape.gradient(logit, inner).numpy()


def preactivated() -> keras.Model:
    """Units in which batch norm and ReLU come first, and one result is used twice."""
    layers = keras.layers
    x = inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(x)
    for _ in range(3):
        y = layers.Activation("relu")(layers.BatchNormalization()(x))
        y = layers.Conv2D(4, 3, padding="same")(layers.ZeroPadding2D(1)(y))
        y = layers.MaxPooling2D(3, 1)(y)
        x = layers.Concatenate()([x, y])
    x = layers.GlobalAveragePooling2D()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(5)(x))


MODELS: dict[str, Callable[[], keras.Model]] = {
    "residual": lambda: reslab.create("resnet20", input_shape=(16, 16, 3)),
    "pre-activation": preactivated,
}
KINDS = (
    "Conv2D",
    "BatchNormalization",
    "Activation",
    "Add",
    "Concatenate",
    "GlobalAveragePooling2D",
)


@pytest.mark.parametrize("name", MODELS)
def test_any_layer_can_be_an_output(name: str) -> None:
    model = MODELS[name]()
    randomise(model, 0)
    for kind in KINDS:
        layers = [x for x in model.layers if type(x).__name__ == kind]
        for layer in layers[len(layers) // 2 :][:1]:
            two = keras.Model(model.input, [layer.output, model.output])
            reslab.accelerate(two)
            fast = values_and_gradient(two)
            reslab.accelerate(two, undo=True)
            stock = values_and_gradient(two)
            reslab.accelerate(two)
            for ours, theirs in zip(fast, stock, strict=True):
                if ours is not None and theirs is not None:
                    scale = np.abs(theirs).max()
                    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * scale)


@pytest.mark.skipif(BACKEND != "torch", reason="tensors of PyTorch have gradients of their own")
def test_gradients_with_respect_to_taps_and_to_layers_of_loaded_models(tmp_path: Any) -> None:
    import torch

    taps = reslab.create("resnet20", input_shape=(16, 16, 3), taps=("conv2_x", "conv4_x"))
    maps = taps(torch.from_numpy(X))
    (gradient,) = torch.autograd.grad(maps["conv4_x"].sum(), maps["conv2_x"])
    assert float(gradient.abs().sum()) > 0
    model = reslab.create("resnet20", input_shape=(16, 16, 3))
    model.save(tmp_path / "a.keras")
    loaded = reslab.load(tmp_path / "a.keras")
    inner = loaded.get_layer("conv3_x_2_add").output
    two = reslab.accelerate(keras.Model(loaded.input, {"maps": inner, "logits": loaded.output}))
    outputs = two(torch.from_numpy(X))
    (gradient,) = torch.autograd.grad(outputs["logits"][:, 1].sum(), outputs["maps"])
    assert float(gradient.abs().sum()) > 0
