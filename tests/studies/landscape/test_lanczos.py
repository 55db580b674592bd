"""Eigenvalues against NumPy, Hessians against closed forms and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from reslab.spec import BN, Conv, Dense, GlobalAvgPool, Network, Residual, stage
from reslab.studies.landscape.directions import kernels
from reslab.studies.landscape.evaluator import Evaluator, whole_variables
from reslab.studies.landscape.hessian import Hessian
from reslab.studies.landscape.lanczos import ends
from tests.helpers import tiny
from tests.helpers.landscape import LINEAR, subject

SMOOTH = Network(  # no rectifier, whose kinks no difference of losses can bear
    "smooth",
    {"conv1": (Conv(3, 3), BN(), Conv(3, 3, 2), BN()), "head": (GlobalAvgPool, Dense(3))},
    (6, 6, 1),
)


def straight(width: int, stride: int = 1) -> Residual:
    return Residual((Conv(width, 3, stride), BN()), shortcut=())


UNITS = Network(
    "units",
    {
        "conv1": (Conv(3, 3), BN()),
        "conv2_x": stage(straight, 3, 3),
        "head": (GlobalAvgPool, Dense(3)),
    },
    (6, 6, 1),
)


def with_spectrum(values: np.ndarray, seed: int = 0) -> np.ndarray:
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    return turn @ np.diag(values) @ turn.T


@pytest.mark.parametrize(
    "values",
    [
        np.concatenate([[-3.0, 50.0], np.random.default_rng(0).normal(0, 0.1, 298)]),
        np.concatenate([[50.0, 49.0, 48.0, -1.0], np.zeros(296)]),
        np.concatenate([[-50.0], np.linspace(0, 2, 199)]),
        np.linspace(0, 1, 100),
        np.full(40, 2.5),
        np.zeros(30),
    ],
    ids=["two outliers", "near one another", "negative", "even", "all alike", "zero"],
)
def test_both_ends_of_a_known_spectrum(values: np.ndarray) -> None:
    matrix = with_spectrum(values)
    found = ends(lambda v: matrix @ v, len(values))
    scale = np.abs(values).max()
    assert found.largest == pytest.approx(values.max(), abs=2e-3 * scale + 1e-9)
    assert found.smallest == pytest.approx(values.min(), abs=2e-3 * scale + 1e-9)


def test_a_small_negative_eigenvalue_is_found_beside_a_large_positive_one() -> None:
    """A residual that is small relative to the larger end does not bound an end near 0."""
    values = np.concatenate([[400.0, 90, 40, -4], np.random.default_rng(1).normal(0, 0.05, 696)])
    matrix = with_spectrum(values)
    assert ends(lambda v: matrix @ v, 700).smallest == pytest.approx(-4, rel=0.02)


def test_a_matrix_smaller_than_the_number_of_steps_is_exact() -> None:
    matrix = with_spectrum(np.array([-1.0, 2.0, 5.0]))
    found = ends(lambda v: matrix @ v, 3)
    assert (found.smallest, found.largest) == pytest.approx((-1, 5), abs=1e-5)
    assert found.ratio == pytest.approx(0.2, abs=1e-5)


def test_a_product_that_is_not_finite_stops_the_iteration() -> None:
    found = ends(lambda v: v * np.nan, 5)
    assert np.isnan(found.largest)
    assert np.isnan(found.ratio)
    assert found.products == 1


def dense(product: Callable[[np.ndarray], np.ndarray], size: int) -> np.ndarray:
    return np.stack([product(row) for row in np.eye(size)])


@pytest.mark.core
def test_the_hessian_of_a_linear_network_equals_the_closed_form() -> None:
    """Of softmax regression: the mean of x x' (x) (diag p - p p')."""
    its = subject(LINEAR, n=30)
    w = its.weights()
    kernel, bias = sorted(w, key=lambda name: -w[name].ndim)
    x = its.images.x.reshape(30, -1).astype("float64")
    z = x @ w[kernel] + w[bias]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    inner = np.eye(3) * p[:, :, None] - p[:, :, None] * p[:, None, :]
    expected = np.einsum("na,nb,nij->aibj", x, x, inner).reshape(48, 48) / 30
    hessian = Hessian(its, batch=8)
    assert hessian.size == 48
    np.testing.assert_allclose(dense(hessian.__matmul__, 48), expected, atol=1e-5)
    found = ends(hessian.__matmul__, 48)
    values = np.linalg.eigvalsh(expected)
    assert found.largest == pytest.approx(values[-1], rel=1e-3)
    assert found.smallest == pytest.approx(values[0], abs=1e-2 * values[-1])


@pytest.mark.core
@pytest.mark.parametrize("net", [SMOOTH, tiny.NETWORK], ids=["smooth", "residual"])
def test_a_hessian_is_symmetric_and_has_the_extreme_eigenvalues_of_the_full_matrix(
    net: Network,
) -> None:
    its = subject(net, n=24)
    hessian = Hessian(its, batch=16)
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, hessian.size))
    assert u @ (hessian @ v) == pytest.approx(v @ (hessian @ u), rel=1e-3, abs=1e-4)
    if net is SMOOTH:
        whole = dense(hessian.__matmul__, hessian.size)
        values = np.linalg.eigvalsh((whole + whole.T) / 2)
        found = ends(hessian.__matmul__, hessian.size)
        assert found.largest == pytest.approx(values[-1], rel=1e-2)
        assert found.smallest == pytest.approx(values[0], rel=2e-2)


@pytest.mark.core
@pytest.mark.parametrize(
    "how",
    [{}, {"stacked": True}, {"stacked": True, "remat": True}],
    ids=["flat", "stacked", "rematerialised"],
)
def test_a_product_equals_the_second_difference_of_the_loss(how: dict[str, Any]) -> None:
    """(L(w + h v) - 2 L(w) + L(w - h v)) / h^2, batch norm in inference mode."""
    its = subject(UNITS, n=24, **how)
    start = {name: w.copy() for name, w in its.weights().items()}
    rng = np.random.default_rng(3)
    v = {name: rng.normal(size=w.shape).astype("float32") for name, w in kernels(start).items()}
    length = np.sqrt(sum(float((d**2).sum()) for d in v.values()))
    v = {name: d / np.float32(length) for name, d in v.items()}
    evaluator = Evaluator(its)
    evaluator.along(v)
    h = 0.03
    ahead, here, behind = (evaluator.at(step).loss for step in (h, 0.0, -h))
    evaluator.restore()
    expected = (ahead - 2 * here + behind) / h**2

    its.assign(v)  # as the variables lie
    names = list(kernels(start))
    flat = np.concatenate(
        [np.asarray(w).ravel() for w in map(_numpy, whole_variables(its, names))]
    ).astype("float64")
    its.assign(start)
    assert flat @ (Hessian(its) @ flat) == pytest.approx(expected, rel=0.05, abs=0.02)


def _numpy(variable: Any) -> np.ndarray:
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))
