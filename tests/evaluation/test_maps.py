"""Class activation maps and Grad-CAM."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

import reslab
from reslab.core.errors import UserError
from reslab.evaluation.maps import CAM, GRAD_CAM, ClassMaps
from reslab.models import saved
from reslab.models.build import create
from reslab.spec import BN, AvgPool, Conv, Dense, Flatten, GlobalAvgPool, MaxPool, Network, ReLU
from tests.helpers import tiny

CONVOLUTIONS = (Conv(6, 3), BN(), ReLU, MaxPool(2, 2), Conv(8, 3), ReLU)
POOLED = Network("pooled", {"conv": CONVOLUTIONS, "head": (GlobalAvgPool, Dense(4))}, (12, 8, 3))
HIDDEN = Network(
    "hidden",
    {"conv": CONVOLUTIONS, "head": (AvgPool(2, 2), Flatten("chw"), Dense(5), ReLU, Dense(4))},
    (12, 8, 3),
)
CONVOLUTIONAL = Network(
    "convolutional", {"conv": (*CONVOLUTIONS, Conv(4, 1)), "head": GlobalAvgPool}, (12, 8, 3)
)


def whole(network: Network, activation: str = "softmax", **options: object) -> keras.Model:
    """A model from raw images to probabilities, with weights that are far from their start."""
    net = create(network, **options)
    rng = np.random.default_rng(0)
    for variable in net.variables:
        positive = "variance" in variable.path
        shape = variable.shape
        value = rng.uniform(0.5, 2, shape) if positive else rng.normal(0, 0.4, shape)
        if variable.dtype == "float32":
            variable.assign(value.astype("float32"))
    return saved.end_to_end(net, network.input_shape, 120.0, 60.0, activation)


def images(network: Network, n: int = 3) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(0, 256, (n, *network.input_shape)).astype("uint8")


@pytest.mark.core
@pytest.mark.parametrize("network", [POOLED, CONVOLUTIONAL], ids=lambda n: n.name)
def test_grad_cam_equals_class_activation_maps_up_to_the_bias_and_a_factor(network):
    model = reslab.accelerate(whole(network))
    x, classes = images(network), np.array([0, 3, 1])
    exact, gradient = ClassMaps(model), ClassMaps(model, exact=False)
    assert (exact.method, gradient.method) == (CAM, GRAD_CAM)
    maps, weighted = exact(x, classes), gradient(x, classes)
    if network is POOLED:
        maps = maps - model.layers[-2].layers[-1].get_weights()[1][classes][:, None, None]
    assert maps.shape == (3, 6, 4)
    positive = np.maximum(maps, 0) / maps[0].size  # the gradient of a mean
    np.testing.assert_allclose(weighted, positive, atol=1e-5 * np.abs(positive).max())


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_the_mean_of_a_map_is_the_logit(activation, data_format):
    model, x = whole(POOLED, activation, data_format=data_format), images(POOLED)
    maps = ClassMaps(model)
    logits = np.stack([maps(x, np.full(3, c)).mean((1, 2)) for c in range(4)], -1)
    expected = np.asarray(model.predict_on_batch(x.astype("float32")))
    last = keras.ops.softmax if activation == "softmax" else keras.ops.sigmoid
    np.testing.assert_allclose(last(logits), expected, atol=1e-5)


@pytest.mark.core
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_grad_cam_of_a_hidden_layer_equals_finite_differences(data_format):
    """The last maps are those before the pool of the head, as in the paper's VGG-16."""
    if data_format == "channels_first" and keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow's CPU build has no such convolutions")
    model = whole(HIDDEN, data_format=data_format)
    x, classes = images(HIDDEN), np.array([2, 0, 1])
    maps = ClassMaps(model)
    assert maps.method == GRAD_CAM
    np.testing.assert_allclose(maps(x, classes), by_hand(x, classes), rtol=2e-2, atol=1e-3)


def by_hand(x: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Grad-CAM from the features and differences of the logits, in NHWC."""
    net = whole(HIDDEN).layers[-2]
    features_layer = [layer for layer in net.layers if len(layer.output.shape) == 4][-2]
    while isinstance(features_layer, layers.AveragePooling2D | layers.Permute):
        features_layer = net.layers[net.layers.index(features_layer) - 1]
    features = keras.Model(net.input, features_layer.output).predict_on_batch((x - 120.0) / 60.0)
    features = np.asarray(features)
    scores = keras.Model(features_layer.output, net.output)
    gradient = np.zeros_like(features)
    step = 1e-2
    for i in np.ndindex(features.shape[1:]):
        change = np.zeros_like(features)
        change[(slice(None), *i)] = step
        up, down = (np.asarray(scores.predict_on_batch(features + s * change)) for s in (1, -1))
        gradient[(slice(None), *i)] = ((up - down) / (2 * step))[np.arange(len(x)), classes]
    weights = gradient.mean((1, 2), keepdims=True)
    return np.maximum((weights * features).sum(-1), 0)


def test_stacked_units_and_models_without_feature_maps():
    deep = Network("deep", {**tiny.NETWORK.rows}, (8, 8, 1))
    x = images(deep)
    plain, stacked = whole(deep), whole(deep, stacked=True)
    classes = np.array([0, 1, 2])
    assert ClassMaps(stacked)(x, classes).shape == ClassMaps(plain)(x, classes).shape == (3, 8, 8)
    dense = Network("dense", {"head": (Flatten(), Dense(4))}, (1, 1, 3))
    with pytest.raises(UserError, match="has no heatmaps: it has no feature maps"):
        ClassMaps(whole(dense))


@pytest.mark.parametrize("last", ["softmax", "sigmoid", None])
def test_models_of_plain_keras(last):
    """Probabilities inside of the last dense layer, and a head of global max pooling."""
    inputs = keras.Input((8, 10, 3))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="features")(inputs)
    outputs = layers.Dense(3, activation=last)(layers.GlobalMaxPooling2D()(x))
    model, pixels = (
        keras.Model(inputs, outputs),
        np.random.default_rng(0).normal(size=(2, 8, 10, 3)),
    )
    maps = ClassMaps(model)
    assert maps.method == GRAD_CAM
    features = np.asarray(keras.Model(inputs, x).predict_on_batch(pixels))
    weights = model.layers[-1].get_weights()[0][:, [0, 2]].T / 80  # one position has the gradient
    expected = np.maximum((features * weights[:, None, None]).sum(-1), 0)
    np.testing.assert_allclose(maps(pixels, [0, 2]), expected, rtol=1e-4, atol=1e-6)
