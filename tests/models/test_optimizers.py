"""The rules of momentum and decay against references in numpy, over a change of rate."""

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
    """On PyTorch one kernel lies otherwise in memory than its shape says, the other does not."""
    inputs = keras.Input((5, 5, 3))
    x = keras.layers.Conv2D(2, 3, name="conv")(inputs)
    x = keras.layers.Dense(4, name="dense")(keras.layers.Flatten()(x))
    return accelerate(keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(x)))


def given(gradients: list[np.ndarray], variables: list[keras.Variable], laid: bool) -> list[Any]:
    """As tensors; on PyTorch, those of transposed kernels have their memory format if `laid`."""
    tensors = [keras.ops.convert_to_tensor(g, "float32") for g in gradients]
    if laid and keras.backend.backend() == "torch":
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
        sgd.apply(given([step[v.path] for v in variables], variables, laid=i % 3 > 0), variables)
    for v in net.trainable_variables:
        decayed = D if decay == "all" or v.name == "kernel" else 0.0
        wanted = reference(start[v.path], [g[v.path] for g in gradients], decayed, nesterov)  # type: ignore[operator]
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), wanted, rtol=2e-5, atol=2e-6)


def test_the_rules_differ_where_they_are_said_to() -> None:
    rng = np.random.default_rng(0)
    w, g = rng.normal(size=5), [rng.normal(size=5) for _ in RATES]
    assert np.abs(caffe(w, g, D, False) - torch(w, g, D, False)).max() > 1e-3
    assert np.abs(caffe(w, g, D, False) - keras_(w, g, D, False)).max() > 1e-3
    # up to the first change of rate, Caffe's and Torch's are one
    steady = RATES[:3]
    v, a = np.zeros(5), w
    u, b = np.zeros(5), w
    for rate, each in zip(steady, g, strict=False):
        v = M * v + rate * each
        a = a - v
        u = M * u + each
        b = b - rate * u
    np.testing.assert_allclose(a, b)


def test_without_momentum_all_is_plain_descent() -> None:
    net = model()
    recipe = replace(Recipe("r", epochs=1), momentum=0.0)
    sgd = optimizer(recipe, [0.5], net)
    before = [keras.ops.convert_to_numpy(v) for v in net.trainable_variables]
    sgd.apply([keras.ops.ones(v.shape) for v in net.trainable_variables], net.trainable_variables)
    for was, v in zip(before, net.trainable_variables, strict=True):
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), was - 0.5, rtol=1e-6)


def test_adadelta_is_keras_s() -> None:
    result = optimizer(Recipe("r", epochs=1, optimizer="adadelta", rate=0.1), [0.1], model())
    assert isinstance(result, keras.optimizers.Adadelta)
    assert (result.rho, result.epsilon) == (0.95, 1e-7)


def test_rates_survive_serialisation_and_hold_their_last() -> None:
    rates = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(Rates(RATES)))
    assert [float(rates(step)) for step in (0, 3, 5, 99)] == pytest.approx([0.1, 0.01, 0.5, 0.5])


HEAD_STEPS, FACTOR = 2, 0.25


def staged(rule: str, w: np.ndarray, gradients: list[np.ndarray], decay: float) -> np.ndarray:
    """A variable that is frozen for two steps, and then trains at a quarter of the rate."""
    v = np.zeros_like(w)
    for step, (rate, g) in enumerate(zip(RATES, gradients, strict=True)):
        if step < HEAD_STEPS:  # neither the weight nor the velocity
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
def test_the_head_first_then_all_at_rates_of_their_own(rule: str, reference: object) -> None:
    recipe = Recipe("r", epochs=1, rule=rule, momentum=M, weight_decay=D, decay="all")
    net = model()
    late = [v.path.startswith("dense") for v in net.trainable_variables]
    shares = Multipliers(tuple(FACTOR if x else 1.0 for x in late), tuple(late), HEAD_STEPS)
    sgd = optimizer(recipe, RATES, net, shares)
    sgd.build(net.trainable_variables)
    rng = np.random.default_rng(0)
    start = [rng.normal(size=v.shape).astype("float32") for v in net.trainable_variables]
    gradients = [[rng.normal(size=w.shape) for w in start] for _ in RATES]
    for v, w in zip(net.trainable_variables, start, strict=True):
        v.assign(w)
    for i, step in enumerate(gradients):
        sgd.apply(given(step, net.trainable_variables, laid=True), net.trainable_variables)
        if i + 1 == HEAD_STEPS:
            for v, w, stood in zip(net.trainable_variables, start, late, strict=True):
                assert (keras.ops.convert_to_numpy(v) == w).all() == stood, v.path
            for m, stood in zip(sgd.momentums, late, strict=True):
                assert (keras.ops.convert_to_numpy(m) == 0).all() == stood
    for i, v in enumerate(net.trainable_variables):
        mine = [step[i] for step in gradients]
        plain = reference(start[i], mine, D, False)  # type: ignore[operator]
        wanted = staged(rule, start[i], mine, D) if late[i] else plain
        np.testing.assert_allclose(keras.ops.convert_to_numpy(v), wanted, rtol=2e-5, atol=2e-6)


def test_adadelta_has_shares_too_and_they_survive_serialisation() -> None:
    net = model()
    n = len(net.trainable_variables)
    shares = Multipliers((1.0,) * n, (True,) + (False,) * (n - 1), 1)
    recipe = Recipe("r", epochs=1, optimizer="adadelta", rate=0.1)
    result = optimizer(recipe, [0.1, 0.1], net, shares)
    before = keras.ops.convert_to_numpy(net.trainable_variables[0])
    for stands in (True, False):
        ones = [keras.ops.ones(v.shape) for v in net.trainable_variables]
        result.apply(ones, net.trainable_variables)
        now = keras.ops.convert_to_numpy(net.trainable_variables[0])
        assert (now == before).all() == stands
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(result))
    assert again.shares == shares
