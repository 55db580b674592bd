"""Local response normalisation as a model of stock operations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import ops

import reslab
from reslab.acceleration.local_response import LocalResponse, recognised
from reslab.models.layers import LocalResponseNormalization
from tests.helpers.odd_nets import close

MAPS = np.random.default_rng(0).normal(size=(2, 5, 4, 7)).astype("float32")
NORM = LocalResponse(3, 0.3, 0.5, 1.5)


def in_axis_1(maps: np.ndarray) -> np.ndarray:
    return maps.transpose(0, 3, 1, 2)


def wrapped(norm: keras.Model) -> keras.Model:
    """The normalisation among other layers, which a plan of acceleration consists of."""
    inputs = keras.Input((5, 4, 7))
    x = keras.layers.Conv2D(7, 1, name="before")(inputs)
    return keras.Model(inputs, keras.layers.Conv2D(2, 1, name="after")(norm(x)))


@pytest.mark.core
@pytest.mark.parametrize("size", [2, 3, 5])
def test_by_the_formula_of_the_paper(size: int) -> None:
    norm = replace(NORM, size=size)
    before = size // 2
    expected = np.empty_like(MAPS)
    for channel in range(7):
        first, last = max(channel - before, 0), channel + size - before
        total = (MAPS[..., first:last] ** 2).sum(-1)
        expected[..., channel] = MAPS[..., channel] / (1.5 + 0.3 * total) ** 0.5
    close(ops.convert_to_numpy(norm.model((5, 4, 7), "norm")(MAPS)), expected)
    first_axis = replace(norm, axis=1).model((7, None, None), "norm")
    close(ops.convert_to_numpy(first_axis(in_axis_1(MAPS))), in_axis_1(expected))


@pytest.mark.core
@pytest.mark.parametrize("axis", [1, 3])
@pytest.mark.parametrize("size", [2, 5])
def test_is_recognised_when_created_and_when_loaded(axis: int, size: int, tmp_path: Path) -> None:
    norm = replace(NORM, axis=axis, size=size)
    model = norm.model((7, 5, 4) if axis == 1 else (None, None, 7), "norm")
    model.save(tmp_path / "norm.keras")
    assert recognised(model) == norm
    assert recognised(keras.saving.load_model(tmp_path / "norm.keras")) == norm


def of_other_windows(x: keras.KerasTensor) -> keras.KerasTensor:
    squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (1, 1)])
    total = squares[..., 0:7] + squares[..., 1:8] + squares[..., 1:8]
    return x / ops.power(1.5 + 0.3 * total, 0.5)


def of_the_squares(x: keras.KerasTensor) -> keras.KerasTensor:
    squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (0, 0), (1, 1)])
    total = squares[..., 0:7] + squares[..., 1:8] + squares[..., 2:9]
    return squares[..., 1:8] / ops.power(1.5 + 0.3 * total, 0.5)


def with_a_learnt_layer(x: keras.KerasTensor) -> keras.KerasTensor:
    return NORM(keras.layers.Dense(7)(x))


def over_the_width(x: keras.KerasTensor) -> keras.KerasTensor:
    squares = ops.pad(ops.square(x), [(0, 0), (0, 0), (1, 1), (0, 0)])
    total = squares[:, :, 0:4] + squares[:, :, 1:5] + squares[:, :, 2:6]
    return x / ops.power(1.5 + 0.3 * total, 0.5)


@pytest.mark.core
@pytest.mark.parametrize(
    "function",
    [
        of_other_windows,
        of_the_squares,
        with_a_learnt_layer,
        over_the_width,
        ops.relu,
    ],
)
def test_another_computation_is_not_recognised_and_stays(function: object) -> None:
    inputs = keras.Input((5, 4, 7))
    model = keras.Model(inputs, function(inputs))  # type: ignore[operator]
    assert recognised(model) is None
    expected = ops.convert_to_numpy(model(MAPS))
    close(ops.convert_to_numpy(reslab.accelerate(model)(MAPS)), expected)
    close(np.asarray(reslab.inference(model, engine="auto")(MAPS)), expected)


@pytest.mark.parametrize("norm", [NORM, replace(NORM, size=5, k=2)])
def test_accelerated_with_gradients(norm: LocalResponse) -> None:
    model = wrapped(norm.model((5, 4, 7), "norm"))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile(keras.optimizers.SGD(0.1), "mse")
    reslab.accelerate(model)
    targets = np.ones((2, 5, 4, 2), "float32")
    for _ in range(3):
        model.train_on_batch(MAPS, targets)
        twin.train_on_batch(MAPS, targets)
    for weight, expected in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["model", "layer of older files"])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "backend"])
def test_engines_run_it_as_one_operation(kind: str, engine: str) -> None:
    pytest.importorskip(engine if engine != "backend" else "keras")
    layer = (
        LocalResponseNormalization(3, 0.3, 0.5, 1.5)
        if kind != "model"
        else NORM.model((5, 4, 7), "n")
    )
    model = wrapped(layer)
    close(np.asarray(reslab.inference(model, engine=engine)(MAPS)), model.predict(MAPS, verbose=0))
