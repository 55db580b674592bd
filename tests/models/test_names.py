"""Names of models: two models of one network inside one outer model."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest

import reslab
from reslab.core.errors import UserError
from reslab.models import build

SHAPE = (12, 12, 1)


def pair() -> keras.Model:
    """Return a model with the mean of the logits of two ResNet-20."""
    images = keras.Input(SHAPE)
    members = [build.create("resnet20", 3, SHAPE, name=name) for name in ("left", "right-1.5")]
    mean = keras.layers.Average(name="mean")([member(images) for member in members])
    return keras.Model(images, mean)


def train(model: keras.Model, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), loss)
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.core
def test_two_models_of_one_network_in_one_model_train_save_and_load(tmp_path: Path) -> None:
    model = pair()
    assert {"left", "right-1.5"} < {layer.name for layer in model.layers}
    assert model.get_layer("left").get_layer("conv1_conv1") is not None
    paths = [v.path for v in model.variables]
    assert len(set(paths)) == len(paths)  # PyTorch has one parameter per path
    names = build.variables(model)
    assert {"left/conv1_conv1/kernel", "right-1.5/conv1_conv1/kernel"} <= set(names)
    assert len(names) == len(model.variables)

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(12, *SHAPE)).astype("float32"), np.arange(12) % 3
    before = model.predict_on_batch(x)
    model.save(tmp_path / "pair.keras")
    loaded = reslab.load(tmp_path / "pair.keras")
    np.testing.assert_allclose(loaded.predict_on_batch(x), before, rtol=1e-5, atol=1e-5)

    # three steps of each: the gradients of both networks must be cleared in between
    for a, b in zip(train(model, x, y), train(loaded, x, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.core
def test_a_name_changes_no_layer_and_no_weight() -> None:
    keras.utils.set_random_seed(1)
    plain = build.create("resnet20", 3, SHAPE)
    keras.utils.set_random_seed(1)
    named = reslab.create("resnet20", 3, SHAPE, name="mine")
    assert (plain.name, named.name) == ("resnet20", "mine")
    assert list(build.variables(plain)) == list(build.variables(named))
    assert [layer.name for layer in plain.layers] == [layer.name for layer in named.layers]
    for a, b in zip(plain.get_weights(), named.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["", "a/b", "my net", "_a", 3])
def test_names_that_keras_does_not_accept_are_refused(name: object) -> None:
    with pytest.raises(UserError, match="cannot be the name of a model"):
        build.create("resnet20", name=name)  # type: ignore[arg-type]
