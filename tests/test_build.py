"""The Keras model of a description: the same layers, the same numbers, any layout, any size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import reslab
from reslab.build import create
from reslab.errors import UserError
from reslab.spec import (
    BN,
    AvgPool,
    Concat,
    Conv,
    Dense,
    Dropout,
    GlobalAvgPool,
    MaxPool,
    Network,
    ReLU,
    walk,
)
from reslab.zoo import NETWORKS, network
from tests.reference import forward, randomise

SMALL = {
    "resnet18": (40, 40, 3),
    "resnet34_c": (33, 33, 3),
    "resnet50": (40, 36, 3),
    "resnet50_v1": (40, 40, 3),
    "resnet50_v2": (40, 40, 3),
    "plain18": (40, 40, 3),
    "resnet20": (15, 16, 1),
    "resnet20_b": (16, 16, 3),
    "plain20": (16, 16, 3),
    "resnet110_v2": (8, 8, 3),
    "resnet164_v2": (8, 8, 3),
    "characters": (28, 28, 1),
    "characters_printed": (28, 28, 1),
}


def close(a: np.ndarray, b: np.ndarray) -> None:
    """Equal to 1e-4 of their scale: float32 sums in another order."""
    assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


# the giants are built in a test of their own; the rest once, the small sizes on every backend
ALL = [n for n in NETWORKS if n not in SMALL and not n.endswith(("1202", "1202_b", "1001_v2"))]


@pytest.mark.parametrize("name", [*ALL, *(pytest.param(n, marks=pytest.mark.core) for n in SMALL)])
def test_built_model_agrees_with_walk(name: str) -> None:
    layers = {layer.name: layer for layer in create(name).layers}
    channels_first = network(name).data_format == "channels_first" and not turned(layers)
    for line in walk(network(name)):
        layer = layers.pop(line.path)
        found = {v.name: tuple(v.shape) for v in layer.variables if "seed" not in v.name}
        assert found == {**line.weights, **line.state}, line.path
        shape = line.out_shape
        size = (
            (shape.features,)
            if not hasattr(shape, "channels")
            else (shape.channels, shape.height, shape.width)
            if channels_first
            else (shape.height, shape.width, shape.channels)
        )
        assert tuple(layer.output.shape[1:]) == size, line.path
    assert not any(layer.variables for layer in layers.values()), "layers that walk does not know"


def turned(layers: dict) -> bool:
    return "to_channels_last" in layers


@pytest.mark.core
@pytest.mark.parametrize("name", SMALL)
def test_the_same_function_as_written_by_hand(name: str) -> None:
    """Against a forward pass in numpy that knows `walk` alone; running statistics filled too."""
    shape = SMALL[name]
    model = create(name, input_shape=shape, data_format="channels_last")
    values = randomise(model)
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    close(model.predict_on_batch(x), forward(walk(network(name), shape), values, x))


@pytest.mark.core
@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50_v2", "resnet20", "characters", "characters_printed"]
)
def test_channels_first_is_the_same_function_of_the_same_weights(name: str) -> None:
    shape = SMALL[name]
    last = create(name, input_shape=shape, data_format="channels_last")
    first = create(name, input_shape=(shape[2], *shape[:2]), data_format="channels_first")
    randomise(last)
    first.set_weights(last.get_weights())
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    close(first.predict_on_batch(x.transpose(0, 3, 1, 2)), last.predict_on_batch(x))


ODD = Network(
    "odd",
    {
        "a": (Conv(6, 5, 2, bias=True), MaxPool(3, 2), BN(epsilon=1e-2), ReLU),
        "b": Concat(((), (Conv(4, 3, dilation=2), ReLU), (AvgPool(3, 1, pad=1), Conv(2, 1)))),
        "c": (MaxPool(3, 2, pad="same"), Conv(8, 3, 2, pad="same", groups=2), MaxPool(2, 2)),
        "head": (GlobalAvgPool, Dropout(0.5), Dense(3)),
    },
    (33, 30, 3),
)


@pytest.mark.core
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_paddings_pools_and_branches(data_format: str) -> None:
    shape = ODD.input_shape if data_format == "channels_last" else (3, 33, 30)
    model = create(ODD, input_shape=shape, data_format=data_format)
    values = randomise(model)
    x = np.random.default_rng(1).normal(size=(2, 33, 30, 3)).astype("float32")
    given = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    close(model.predict_on_batch(given), forward(walk(ODD), values, x))


@pytest.mark.core
def test_open_size_taps_and_no_top() -> None:
    model = create("resnet18", input_shape=(None, None, 3), taps=("conv3_x", "conv4_x"))
    small = model.predict_on_batch(np.zeros((1, 64, 48, 3), "float32"))
    assert {k: v.shape for k, v in small.items()} == {
        "conv3_x": (1, 8, 6, 128),
        "conv4_x": (1, 4, 3, 256),
    }
    assert model.predict_on_batch(np.zeros((1, 32, 32, 3), "float32"))["conv4_x"].shape[1] == 2
    assert not any(layer.name.startswith("conv5_x") for layer in model.layers)
    headless = create("resnet20", input_shape=(None, None, 1), top=False)
    assert headless.output_shape == (None, None, None, 64)
    assert create("resnet20", classes=7).output_shape == (None, 7)


@pytest.mark.core
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"network": "resnet51"}, "did you mean 'resnet50'"),
        ({"network": "resnet20", "classes": 0}, "at least one class"),
        ({"network": "resnet20", "input_shape": (32, 32)}, "height, width, channels"),
        ({"network": "resnet20", "input_shape": (32, 32, None)}, "number of channels"),
        ({"network": "resnet20", "input_shape": (0, 32, 3)}, "number of channels"),
        ({"network": "resnet20", "data_format": "nchw"}, "channels_last or channels_first"),
        ({"network": "resnet20", "taps": ("conv9_x",)}, "no row of resnet20 'conv9_x'"),
        ({"network": "characters", "input_shape": (None, None, 1)}, "known size"),
    ],
)
def test_what_does_not_fit_is_said(arguments: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        create(**arguments)


@pytest.mark.core
def test_twin_kernels_of_the_printed_network_start_identical() -> None:
    """One integer seed: a block's first 3x3 and the 3x3 of its shortcut are the same."""
    model = create("characters_printed")
    for block in range(1, 5):
        body = model.get_layer(f"block{block}_1_body_conv1").get_weights()[0]
        shortcut = model.get_layer(f"block{block}_1_shortcut_conv1").get_weights()[0]
        np.testing.assert_array_equal(body, shortcut)
    fixed = create("characters")
    kernels = [w for w in fixed.get_weights() if w.ndim == 4]
    assert all(
        not np.array_equal(a, b)
        for i, a in enumerate(kernels)
        for b in kernels[:i]
        if a.shape == b.shape
    )


@pytest.mark.core
def test_compiles_fits_clones_saves_and_loads(tmp_path: Path) -> None:
    model = reslab.create("resnet20", classes=3, input_shape=(12, 12, 1))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).normal(size=(8, 12, 12, 1)).astype("float32")
    before = model.get_weights()
    model.fit(x, np.arange(8) % 3, batch_size=4, epochs=1, verbose=0)
    assert all(np.isfinite(w).all() for w in model.get_weights())
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    close(clone.predict_on_batch(x), model.predict_on_batch(x))
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", model.predict_on_batch(x))
    # a fresh process that has never heard of reslab
    script = (
        "import keras, numpy as np, sys\n"
        "m = keras.saving.load_model('model.keras')\n"
        "y = np.load('y.npy')\n"
        "assert 'reslab' not in sys.modules\n"
        "assert np.abs(m.predict_on_batch(np.load('x.npy')) - y).max() <= 1e-5 * np.abs(y).max()\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet1202", "resnet1001_v2"])
def test_giants_agree_with_walk_and_compute(name: str, tmp_path: Path) -> None:
    test_built_model_agrees_with_walk(name)
    model = create(name)
    model.save(tmp_path / "giant.keras")
    again = keras.saving.load_model(tmp_path / "giant.keras")
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))
