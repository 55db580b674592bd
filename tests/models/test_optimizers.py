"""Momentum and weight decay against NumPy references, with rates that change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest

from reslab.acceleration.accelerate import accelerate
from reslab.models.optimizers import Multipliers, Rates, optimizer
from reslab.runs.recipe import Recipe

pytestmark = pytest.mark.core

RATES = [0.1, 0.1, 0.1, 0.01, 0.01, 0.5]
M, D = 0.9, 0.03


def caffe(w: np.ndarray, gradients: list[np.ndarray], decay: float, nesterov: bool) -> np.ndarray:
    v = np.zeros_like(w)
    for rate, g in zip(RATES, gradients, strict=True):
        g = g + decay * w
        v = M * v + rate * g
        w = w - (M * v + rate * g if nesterov else v)
    return w


def torch(w: np.ndarray, gradients: list[np.ndarray], decay: float, nesterov: bool) -> np.ndarray:
    v = np.zeros_like(w)
    for rate, g in zip(RATES, gradients, strict=True):
        g = g + decay * w
        v = M * v + g
        w = w - rate * (g + M * v if nesterov else v)
    return w


def keras_(w: np.ndarray, gradients: list[np.ndarray], decay: float, nesterov: bool) -> np.ndarray:
    v = np.zeros_like(w)
    for rate, g in zip(RATES, gradients, strict=True):
        w = w - rate * decay * w
        v = M * v - rate * g
        w = w + (M * v - rate * g if nesterov else v)
    return w


def model() -> keras.Model:
    """Return a model. On PyTorch one of its kernels is transposed in memory, the other is not."""
    inputs = keras.Input((5, 5, 3))
    x = keras.layers.Conv2D(2, 3, name="conv")(inputs)
    x = keras.layers.Dense(4, name="dense")(keras.layers.Flatten()(x))
    return accelerate(keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(x)))


def as_tensors(
    gradients: list[np.ndarray], variables: list[keras.Variable], transposed: bool
) -> list[Any]:
    """Convert gradients to tensors; on PyTorch in the kernels' memory format if `transposed`."""
    tensors = [keras.ops.convert_to_tensor(g, "float32") for g in gradients]
    if transposed and keras.backend.backend() == "torch":
        from torch import empty_like

        pairs = zip(tensors, variables, strict=True)
        tensors = [empty_like(v.value, requires_grad=False).copy_(g) for g, v in pairs]
    return tensors


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", ["kernels", "all"])
@pytest.mark.parametrize(
    ("rule", "reference"), [("caffe", caffe), ("torch", torch), ("keras", keras_)]
)
def test_rule(rule: str, reference: object, decay: str, nesterov: bool) -> None:
    recipe = Recipe(
        "r", epochs=1, rule=rule, momentum=M, weight_decay=D, decay=decay, nesterov=nesterov
    )
    net = model()
    sgd = optimizer(recipe, RATES, net)
    sgd.build(net.trainable_variables)
    rng = np.random.default_rng(0)
    start = {v.path: rng.normal(size=v.shape) for v in net.trainable_variables}
    gradients = [{p: rng.normal(size=w.shape) for p, w in start.items()} for _ in RATES]
    variables = net.trainable_variables
    for v in variables:
        v.assign(start[v.path])
    if keras.backend.backend() == "torch":
        from reslab.acceleration.torch_memory import match_slots

        match_slots(sgd)
    for i, step in enumerate(gradients):
        sgd.apply(
            as_tensors([step[v.path] for v in variables], variables, transposed=i % 3 > 0),
            variables,
        )
    for v in net.trainable_variables:
        decayed = D if decay == "all" or v.name == "kernel" else 0.0
        expected = reference(start[v.path], [g[v.path] for g in gradients], decayed, nesterov)  # type: ignore[operator]
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), expected, rtol=2e-5, atol=2e-6)


def test_the_rules_differ_in_weight_decay_and_after_a_change_of_rate() -> None:
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=5), [rng.normal(size=5) for _ in RATES]
    assert np.abs(caffe(w, g, D, False) - torch(w, g, D, False)).max() > 1e-3
    assert np.abs(caffe(w, g, D, False) - keras_(w, g, D, False)).max() > 1e-3
    # Caffe and Torch have equal rules until the rate changes
    constant = RATES[:3]
    v, a = np.zeros(5), w
    u, b = np.zeros(5), w
    for rate, each in zip(constant, g, strict=False):
        v = M * v + rate * each
        a = a - v
        u = M * u + each
        b = b - rate * u
    np.testing.assert_allclose(a, b)


def test_without_momentum_it_is_plain_gradient_descent() -> None:
    net = model()
    recipe = replace(Recipe("r", epochs=1), momentum=0.0)
    sgd = optimizer(recipe, [0.5], net)
    before = [keras.ops.convert_to_numpy(v) for v in net.trainable_variables]
    sgd.apply([keras.ops.ones(v.shape) for v in net.trainable_variables], net.trainable_variables)
    for start, v in zip(before, net.trainable_variables, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), start - 0.5, rtol=1e-6)


def test_adadelta_is_that_of_keras() -> None:
    result = optimizer(Recipe("r", epochs=1, optimizer="adadelta", rate=0.1), [0.1], model())
    assert isinstance(result, keras.optimizers.Adadelta)
    assert (result.rho, result.epsilon) == (0.95, 1e-7)


def test_rates_survive_serialisation_and_repeat_the_last() -> None:
    rates = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Rates(RATES)))
    assert [float(rates(step)) for step in (0, 3, 5, 99)] == pytest.approx([0.1, 0.01, 0.5, 0.5])


HEAD_STEPS, FACTOR = 2, 0.25


def frozen_first(rule: str, w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """Reference for a variable that is frozen for two steps and then has a quarter of the rate."""
    v = np.zeros_like(w)
    for step, (rate, g) in enumerate(zip(RATES, gradients, strict=True)):
        if step < HEAD_STEPS:  # frozen: neither the weight nor the velocity changes
            continue
        rate = FACTOR * rate
        if rule == "keras":
            w = w - rate * decay * w
            v = M * v + rate * g
            w = w - v
        elif rule == "caffe":
            v = M * v + rate * (g + decay * w)
            w = w - v
        else:
            v = M * v + g + decay * w
            w = w - rate * v
    return w


@pytest.mark.parametrize(
    ("rule", "reference"), [("caffe", caffe), ("torch", torch), ("keras", keras_)]
)
def test_layers_unfreeze_after_the_head_with_their_own_multipliers(
    rule: str, reference: object
) -> None:
    recipe = Recipe("r", epochs=1, rule=rule, momentum=M, weight_decay=D, decay="all")
    net = model()
    frozen = [v.path.startswith("dense") for v in net.trainable_variables]
    shares = Multipliers(tuple(FACTOR if x else 1.0 for x in frozen), tuple(frozen), HEAD_STEPS)
    sgd = optimizer(recipe, RATES, net, shares)
    sgd.build(net.trainable_variables)
    rng = np.random.default_rng(0)
    start = [rng.normal(size=v.shape).astype("float32") for v in net.trainable_variables]
    gradients = [[rng.normal(size=w.shape) for w in start] for _ in RATES]
    for v, w in zip(net.trainable_variables, start, strict=True):
        v.assign(w)
    for i, step in enumerate(gradients):
        sgd.apply(
            as_tensors(step, net.trainable_variables, transposed=True), net.trainable_variables
        )
        if i + 1 == HEAD_STEPS:
            for v, w, is_frozen in zip(net.trainable_variables, start, frozen, strict=True):
                assert (keras.ops.convert_to_numpy(v) == w).all() == is_frozen, v.path
            for m, is_frozen in zip(sgd.momentums, frozen, strict=True):
                assert (keras.ops.convert_to_numpy(m) == 0).all() == is_frozen
    for i, v in enumerate(net.trainable_variables):
        own_gradients = [step[i] for step in gradients]
        plain = reference(start[i], own_gradients, D, False)  # type: ignore[operator]
        expected = frozen_first(rule, start[i], own_gradients, D) if frozen[i] else plain
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), expected, rtol=2e-5, atol=2e-6)


def test_multipliers_of_adadelta_survive_serialisation() -> None:
    net = model()
    n = len(net.trainable_variables)
    shares = Multipliers((1.0,) * n, (True,) + (False,) * (n - 1), 1)
    recipe = Recipe("r", epochs=1, optimizer="adadelta", rate=0.1)
    result = optimizer(recipe, [0.1, 0.1], net, shares)
    before = keras.ops.convert_to_numpy(net.trainable_variables[0])
    for is_frozen in (True, False):
        ones = [keras.ops.ones(v.shape) for v in net.trainable_variables]
        result.apply(ones, net.trainable_variables)
        after = keras.ops.convert_to_numpy(net.trainable_variables[0])
        assert (after == before).all() == is_frozen
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(result))
    assert again.shares == shares
