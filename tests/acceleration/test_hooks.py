"""Hooks of PyTorch on the layers of accelerated models fire as on those of stock Keras."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

import reslab
from reslab.acceleration.torch_plan import KerasStep, TorchPlan
from reslab.core.errors import UserError
from tests.helpers.models import array, torch_only
from tests.helpers.reference import randomise

torch = torch_only() if keras.backend.backend() == "torch" else None
pytestmark = pytest.mark.skipif(torch is None, reason="only PyTorch has hooks")
X = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype("float32")


def small() -> keras.Model:
    """With a fused pair of layers of each kind: padding, in-place ReLU, in-place addition."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="conv")(layers.ZeroPadding2D(1, name="pad")(image))
    y = layers.BatchNormalization(name="bn")(x)
    y = layers.Conv2D(8, 3, padding="same", name="last")(layers.ReLU(name="relu")(y))
    x = layers.GlobalAveragePooling2D(name="mean")(layers.Add(name="add")([y, x]))
    model = keras.Model(image, layers.Dense(5, name="head")(x))
    randomise(model)
    return model


NAMES = "pad", "conv", "bn", "relu", "last", "add", "mean", "head"


def record(model: keras.Model, name: str, kind: str) -> tuple[list[np.ndarray], Any]:
    """The values that a hook of one kind sees, and its handle."""
    values: list[np.ndarray] = []

    def forward(layer: Any, inputs: Any, outputs: Any) -> None:
        values.extend(array(x) for x in keras.tree.flatten((inputs, outputs)))

    def gradients(layer: Any, *of: Any) -> None:
        values.extend(array(x) for x in keras.tree.flatten(of) if x is not None)

    hooks = {
        "forward_hook": forward,
        "forward_pre_hook": lambda layer, inputs: values.extend(map(array, inputs[:1])),
        "full_backward_hook": gradients,
        "full_backward_pre_hook": gradients,
    }
    layer = model.get_layer(name)
    return values, getattr(layer, f"register_{kind}")(hooks[kind])


def pass_through(model: keras.Model) -> None:
    x = torch.tensor(X, requires_grad=True)
    torch.autograd.grad(model(x).square().sum(), x)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")  # of a layer that adds a list
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "kind", ["forward_hook", "forward_pre_hook", "full_backward_hook", "full_backward_pre_hook"]
)
def test_a_hook_sees_what_it_sees_in_stock_keras(name: str, kind: str) -> None:
    """Whether it was registered before the model was accelerated or after a first call."""
    model = small()
    expected, handle = record(model, name, kind)
    pass_through(model)
    handle.remove()
    assert expected
    for registered_first in (True, False):
        reslab.accelerate(model, undo=True)
        if not registered_first:
            pass_through(reslab.accelerate(model))
        values, handle = record(model, name, kind)
        pass_through(reslab.accelerate(model) if registered_first else model)
        assert len(values) == len(expected)
        for ours, theirs in zip(values, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4 * np.abs(theirs).max())
        count = len(values)
        handle.remove()
        pass_through(model)
        assert len(values) == count
    assert not any(isinstance(step, KerasStep) for step in TorchPlan(model).steps)


@pytest.mark.parametrize("name", NAMES)
def test_a_hook_can_replace_an_output(name: str) -> None:
    model = reslab.accelerate(small())
    before = array(model(X))
    handle = model.get_layer(name).register_forward_hook(lambda layer, inputs, output: 3 * output)
    after = array(model(X))
    stock = array(reslab.accelerate(model, undo=True)(X))
    assert np.abs(after - before).max() > 1e-2 * np.abs(before).max()
    np.testing.assert_allclose(after, stock, rtol=1e-4, atol=1e-5)
    handle.remove()
    np.testing.assert_array_equal(array(reslab.accelerate(model)(X)), before)


def test_hooks_of_all_modules() -> None:
    names: list[str] = []
    model = reslab.accelerate(small())
    model(X)
    handle = torch.nn.modules.module.register_module_forward_hook(
        lambda layer, inputs, output: names.append(layer.name)
    )
    try:
        model(X)
    finally:
        handle.remove()
    model(X)
    assert names == [*NAMES, model.name]


def loaded(tmp_path: Path) -> keras.Model:
    small().save(tmp_path / "a.keras")
    return reslab.load(tmp_path / "a.keras")


def inside(tmp_path: Path) -> keras.Model:
    inner = small()
    image = keras.Input((8, 8, 3))
    model = reslab.accelerate(keras.Model(image, layers.Softmax()(inner(image))))
    model.get_layer = inner.get_layer
    return model


def sequential(tmp_path: Path) -> keras.Model:
    return reslab.accelerate(keras.Sequential([keras.Input((8, 8, 3)), *small().layers[1:6]]))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("make", [loaded, inside, sequential])
@pytest.mark.parametrize("way", ["call", "predict", "evaluate", "fit", "fit compiled"])
def test_hooks_fire_in_every_use(make: Callable[[Path], Any], way: str, tmp_path: Path) -> None:
    model = make(tmp_path)
    model.compile("sgd", "mse", jit_compile=way == "fit compiled")
    shape = (4, *model.output_shape[1:])
    values, _ = record(model, "bn", "forward_hook")
    uses: dict[str, Callable[[], Any]] = {
        "call": lambda: model(X),
        "predict": lambda: model.predict(X, verbose=0),
        "evaluate": lambda: model.evaluate(X, np.zeros(shape), verbose=0),
        "fit": lambda: model.fit(X, np.zeros(shape), verbose=0),
        "fit compiled": lambda: model.fit(X, np.zeros(shape), verbose=0),
    }
    uses[way]()
    assert len(values) >= 2
    assert {x.shape for x in values} == {(4, 8, 8, 8)}


def test_inference_runs_hooks_or_says_that_it_cannot(caplog: pytest.LogCaptureFixture) -> None:
    model = reslab.accelerate(small())
    model.get_layer("bn").register_forward_hook(lambda layer, inputs, output: 3 * output)
    with pytest.raises(UserError, match="onnxruntime does not support the hooks of layer 'bn'"):
        reslab.inference(model, "onnxruntime")
    with caplog.at_level(logging.WARNING):
        fast = reslab.inference(model)
    assert "no other engine supports the hooks of layer 'bn'" in caplog.text
    np.testing.assert_allclose(fast(X), array(model(X)), rtol=1e-4, atol=1e-5)


def test_inference_keeps_a_call_that_was_replaced() -> None:
    model = small()
    model.get_layer("head").call = lambda x, training=None: keras.ops.zeros((4, 5)) + 7
    np.testing.assert_array_equal(reslab.inference(model)(X), 7)
