"""The Keras model of a description: the same layers, the same numbers, any layout, any size."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

import reslab
from reslab.acceleration.accelerate import fast_initialisation
from reslab.core.errors import UserError
from reslab.models.build import create
from reslab.spec import (
    BN,
    Flatten,
    Network,
    StochasticDepth,
    leaves,
    walk,
)
from reslab.zoo import NETWORKS, network
from tests.helpers.odd_nets import LATER, ODD, RARE, SMALL, close
from tests.helpers.reference import forward, randomise

# The deepest networks have a separate test when not stacked. Small sizes run on every backend.
DEEPEST = "resnet1202", "resnet1202_b", "plain1202", "resnet1001_v2"
REST = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in NETWORKS
    if name not in {**SMALL, **LATER} and name not in DEEPEST
]
ON_EVERY_BACKEND = [pytest.param(name, marks=pytest.mark.core) for name in SMALL]


@pytest.mark.parametrize("name", [*REST, *LATER, *ON_EVERY_BACKEND])
def test_built_model_agrees_with_walk(name: str) -> None:
    layers = {layer.name: layer for layer in create(name).layers}
    channels_first = network(name).data_format == "channels_first" and not transposes(layers)
    for line in walk(network(name)):
        layer = layers.pop(line.path)
        shapes = {v.name: tuple(v.shape) for v in layer.variables if "seed" not in v.name}
        assert shapes == {**line.weights, **line.state}, line.path
        shape = line.out_shape
        size = (
            (shape.features,)
            if not hasattr(shape, "channels")
            else (shape.channels, shape.height, shape.width)
            if channels_first
            else (shape.height, shape.width, shape.channels)
        )
        assert tuple(layer.output.shape[1:]) == size, line.path
    assert not any(layer.variables for layer in layers.values()), "layers that are missing in walk"


def transposes(layers: dict) -> bool:
    return "to_channels_last" in layers


@pytest.mark.parametrize("name", [*LATER, *ON_EVERY_BACKEND])
def test_outputs_equal_a_numpy_forward_pass(name: str) -> None:
    """The NumPy forward pass uses only `walk`. Running statistics are random, too."""
    shape = {**SMALL, **LATER}[name]
    model = create(name, input_shape=shape, data_format="channels_last")
    values = randomise(model)
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    close(model.predict_on_batch(x), forward(walk(network(name), shape), values, x))


@pytest.mark.core
@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50_v2", "resnet20", "characters", "characters_printed"]
)
def test_channels_first_gives_the_same_outputs_with_the_same_weights(name: str) -> None:
    shape = SMALL[name]
    last = create(name, input_shape=shape, data_format="channels_last")
    first = create(name, input_shape=(shape[2], *shape[:2]), data_format="channels_first")
    randomise(last)
    first.set_weights(last.get_weights())
    x = np.random.default_rng(1).normal(size=(2, *shape)).astype("float32")
    close(first.predict_on_batch(x.transpose(0, 3, 1, 2)), last.predict_on_batch(x))


@pytest.mark.core
@pytest.mark.parametrize("net", [ODD, RARE], ids=lambda net: net.name)
@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_paddings_pools_branches_and_rare_parts(
    net: Network, data_format: str, tmp_path: Path
) -> None:
    shape = net.input_shape if data_format == "channels_last" else (3, 33, 30)
    model = create(net, input_shape=shape, data_format=data_format)
    values = randomise(model)
    x = np.random.default_rng(1).normal(size=(2, 33, 30, 3)).astype("float32")
    inputs = x if data_format == "channels_last" else x.transpose(0, 3, 1, 2)
    outputs = model.predict_on_batch(inputs)
    close(outputs, forward(walk(net), values, x))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    close(again.predict_on_batch(inputs), outputs)
    np.testing.assert_array_equal(reslab.accelerate(again).predict_on_batch(inputs), outputs)


@pytest.mark.core
def test_auxiliary_heads_exist_only_with_aux() -> None:
    whole = create(RARE, data_format="channels_last", aux=True)
    values = randomise(whole)
    x = np.random.default_rng(1).normal(size=(2, *RARE.input_shape)).astype("float32")
    outputs = whole.predict_on_batch(x)
    assert set(outputs) == {"head", "b_aux"}
    layers = walk(RARE, aux=True)
    end = next(i for i, layer in enumerate(layers) if layer.path == "b_aux_dense1")
    close(outputs["b_aux"], forward(layers[: end + 1], values, x))
    close(outputs["head"], forward(layers, values, x))
    without_aux = create(RARE, data_format="channels_last")
    assert {layer.name for layer in whole.layers} - {
        layer.name for layer in without_aux.layers
    } == {
        "b_aux_globalaverage1",
        "b_aux_dense1",
    }
    assert create(RARE, classes=7, aux=True).output["b_aux"].shape == (None, 7)


@pytest.mark.core
def test_stochastic_depth_drops_whole_images_and_keeps_the_mean() -> None:
    net = Network("n", {"a": StochasticDepth(0.25)}, (2, 2, 3))
    model = create(net, data_format="channels_last")
    x = np.ones((4000, 2, 2, 3), "float32")
    np.testing.assert_array_equal(model.predict_on_batch(x[:8]), x[:8])
    y = keras.ops.convert_to_numpy(model(x, training=True))
    first = y[:, :1, :1, :1]
    np.testing.assert_array_equal(
        y, np.broadcast_to(first, y.shape)
    )  # each image is kept or dropped as a whole
    np.testing.assert_allclose(np.unique(first), [0, 4 / 3], rtol=1e-6)
    assert abs((first > 0).mean() - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)


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
    ("arguments", "message"),
    [
        ({"network": "resnet51"}, "did you mean 'resnet50'"),
        ({"network": "resnet20", "classes": 0}, "at least one class"),
        ({"network": "resnet20", "input_shape": (32, 32)}, "height, width, channels"),
        ({"network": "resnet20", "input_shape": (32, 32, None)}, "number of channels"),
        ({"network": "resnet20", "input_shape": (0, 32, 3)}, "number of channels"),
        ({"network": "resnet20", "data_format": "nchw"}, "channels_last or channels_first"),
        ({"network": "resnet20", "taps": ("conv9_x",)}, "no row of resnet20 'conv9_x'"),
        ({"network": "characters", "input_shape": (None, None, 1)}, "fixed size"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        create(**arguments)


@pytest.mark.core
def test_twin_kernels_of_the_printed_network_start_identical() -> None:
    """One integer seed gives the first 3x3 of a block and the 3x3 of its shortcut equal kernels."""
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
    # a new process that does not import reslab
    script = (
        "import keras, numpy as np, sys\n"
        "m = keras.saving.load_model('model.keras')\n"
        "y = np.load('y.npy')\n"
        "assert 'reslab' not in sys.modules\n"
        "assert np.abs(m.predict_on_batch(np.load('x.npy')) - y).max() <= 1e-5 * np.abs(y).max()\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": keras.backend.backend()}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)


@pytest.fixture
def cleared_caches() -> Iterator[None]:
    """Free compiled programs after the test: those of a hundred networks would use 12 GB."""
    yield
    keras.utils.clear_session()
    gc.collect()  # a compiled model and its functions refer to each other
    if keras.backend.backend() == "jax":
        import jax

        jax.clear_caches()


@pytest.mark.slow
@pytest.mark.usefixtures("cleared_caches")
@pytest.mark.parametrize(
    "name",  # JAX compiles for a minute a network: one of each family there
    [
        pytest.param(n, marks=[pytest.mark.core] if n in {**SMALL, **LATER} else [])
        for n in sorted(NETWORKS)
    ],
)
def test_every_network_trains_a_step_saves_and_loads(name: str, tmp_path: Path) -> None:
    """The deepest networks are stacked, as `reslab train` does. On TensorFlow the step is not
    traced: tracing would take most of the time, and other tests cover it."""
    net = network(name)
    flattens = any(isinstance(leaf, Flatten) for part in net.rows.values() for leaf in leaves(part))
    height, width, channels = net.input_shape
    shape = (height, width, channels) if flattens else (min(height or 64, 64),) * 2 + (channels,)
    model = create(
        name,
        classes=3,
        input_shape=shape,
        data_format="channels_last",
        stacked=name in DEEPEST,
    )
    model.compile(
        "sgd",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        run_eagerly=keras.backend.backend() == "tensorflow",
    )
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")
    before = model.get_weights()
    assert np.isfinite(float(model.train_on_batch(x, np.arange(2))))
    assert any((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))
    model.save(tmp_path / "model.keras")
    with fast_initialisation():
        again = reslab.accelerate(keras.saving.load_model(tmp_path / "model.keras"))
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))


UNNORMALISED = sorted(
    name
    for name, net in NETWORKS.items()
    if not any(isinstance(leaf, BN) for part in net.rows.values() for leaf in leaves(part))
)


@pytest.mark.parametrize(
    "name",
    [n if n == "googlenet_2014" else pytest.param(n, marks=pytest.mark.slow) for n in UNNORMALISED],
)
def test_initial_logits_are_small_without_batch_norm(name: str) -> None:
    """With large initial logits the first training steps diverge."""
    keras.utils.set_random_seed(0)
    model = create(name, classes=3)
    x = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype("float32")
    assert np.abs(model.predict_on_batch(x)).max() < 10


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet1202", "resnet1001_v2"])
def test_the_deepest_networks_agree_with_walk_and_compute(name: str, tmp_path: Path) -> None:
    test_built_model_agrees_with_walk(name)
    model = create(name)
    model.save(tmp_path / "giant.keras")
    again = reslab.accelerate(keras.saving.load_model(tmp_path / "giant.keras"))
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(again.predict_on_batch(x), model.predict_on_batch(x))
