"""Losses at other weights, against closed forms and against direct assignment and scoring."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from reslab.data import Normalization
from reslab.evaluation.scoring import score
from reslab.models import build, stacked
from reslab.studies.landscape.directions import filter_normalised
from reslab.studies.landscape.evaluator import Evaluator, as_split, point
from reslab.studies.trained import Images, LoadedRun
from tests.helpers import tiny
from tests.helpers.landscape import LINEAR, subject

AS_IS = Normalization(np.zeros((1, 1, 1), "float32"), np.ones((1, 1, 1), "float32"))


def moved(w: Mapping[str, Any], directions: Any, steps: Any) -> dict[str, Any]:
    return {
        name: w[name] + sum(s * d[name] for s, d in zip(steps, directions, strict=True))
        for name in directions[0]
    }


def entropy(z: np.ndarray, labels: np.ndarray) -> float:
    """The mean of -log softmax, by definition."""
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return float(-np.log(p[np.arange(len(z)), labels]).mean())


@pytest.mark.core
def test_the_surface_of_a_linear_network_equals_the_closed_form() -> None:
    """Softmax regression: mean of -log softmax(x (W + a D + b E) + c)."""
    its = subject(LINEAR)
    w = {name: array.copy() for name, array in its.weights().items()}
    kernel, bias = sorted(w, key=lambda name: -w[name].ndim)
    directions = [filter_normalised(w, 0, which) for which in (0, 1)]
    evaluator = Evaluator(its, batch=16)
    evaluator.along(*directions)
    x = its.images.x.reshape(40, -1).astype("float64")
    for steps in ((0.0, 0.0), (1.0, -0.5), (-0.3, 0.8)):
        z = x @ moved(w, directions, steps)[kernel] + w[bias]
        at = evaluator.at(*steps)
        assert at.loss == pytest.approx(entropy(z, its.images.labels), rel=1e-5)
        assert at.error == pytest.approx((z.argmax(1) != its.images.labels).mean())


@pytest.mark.core
@pytest.mark.parametrize("how", [{}, {"stacked": True}], ids=["flat", "stacked"])
def test_a_point_equals_the_score_of_a_network_with_these_weights(how: dict[str, Any]) -> None:
    its = subject(tiny.NETWORK, **how)
    w = {name: array.copy() for name, array in its.weights().items()}
    directions = [filter_normalised(w, 1, which) for which in (0, 1)]
    evaluator = Evaluator(its, batch=16)
    evaluator.along(*directions)
    twin = build.create(tiny.NETWORK)
    own = build.variables(twin)
    for steps in ((0.0, 0.0), (0.7, -0.4)):
        stacked.assign(own, {name: w[name] for name in own} | moved(w, directions, steps))
        expected = score(twin, as_split(its.images), AS_IS, 7)
        at = evaluator.at(*steps)
        assert at.loss == pytest.approx(expected.loss, rel=1e-4)
        assert at.error == expected.error
    evaluator.restore()
    for name, array in its.weights().items():
        np.testing.assert_array_equal(array, w[name])


@pytest.mark.core
def test_with_recomputed_statistics_the_scale_before_batch_norm_does_not_matter() -> None:
    """The same function with other filter norms has the same surface (Li et al., Sec. 4)."""
    pictures = []
    for factor in (1.0, 6.0):
        its = subject(tiny.NETWORK)
        name = next(n for n in its.weights() if n.startswith("conv1") and n.endswith("kernel"))
        kernel = its.weights()[name]
        scales = np.linspace(1, factor, kernel.shape[-1]).astype("float32")
        its.assign({name: kernel * scales})
        evaluator = Evaluator(its, bn="recompute")
        evaluator.along(*(filter_normalised(its.weights(), 0, which) for which in (0, 1)))
        pictures.append([evaluator.at(a, b).loss for a in (-1, 0, 1) for b in (-0.5, 0.5)])
    np.testing.assert_allclose(pictures[0], pictures[1], rtol=2e-3)
    assert np.ptp(pictures[0]) > 0.05


def test_keep_uses_the_statistics_of_the_run_and_recompute_those_of_the_images() -> None:
    its = subject(tiny.NETWORK)
    before = {n: w.copy() for n, w in its.weights().items() if "moving" in n}
    direction = filter_normalised(its.weights(), 0, 0)
    evaluator = Evaluator(its)
    evaluator.along(direction)
    evaluator.at(0.5)
    for name, array in before.items():
        np.testing.assert_array_equal(its.weights()[name], array)
    evaluator = Evaluator(its, bn="recompute")
    evaluator.along(direction)
    evaluator.at(0.0)
    first = next(n for n in before if n.startswith("conv1") and n.endswith("mean"))
    kernel = next(w for n, w in its.weights().items() if n.startswith("conv1") and w.ndim == 4)
    x = np.pad(its.images.x.astype("float64"), ((0, 0), (1, 1), (1, 1), (0, 0)))
    maps = sum(
        x[:, i : i + 8, j : j + 8] @ kernel[i, j].astype("float64")
        for i in range(3)
        for j in range(3)
    )
    np.testing.assert_allclose(its.weights()[first], maps.mean((0, 1, 2)), atol=1e-4)
    evaluator.restore()
    np.testing.assert_array_equal(its.weights()[first], before[first])


def test_channels_first_has_the_same_surface() -> None:
    losses = []
    for data_format in ("channels_last", "channels_first"):
        its = subject(tiny.NETWORK)
        if data_format == "channels_first":
            w = its.weights()
            model = build.create(tiny.NETWORK, data_format=data_format)
            x = np.ascontiguousarray(its.images.x.transpose(0, 3, 1, 2))
            its = LoadedRun(its.run, model, Images(x, its.images.labels, ""))
            its.assign(w)
        for bn in ("keep", "recompute"):
            evaluator = Evaluator(its, bn=bn, batch=16)
            evaluator.along(filter_normalised(evaluator.start, 0, 0))
            losses.append(evaluator.at(0.6).loss)
            evaluator.restore()
    assert losses[:2] == pytest.approx(losses[2:], rel=1e-4)
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)


def test_logits_that_are_not_finite_have_an_infinite_loss_and_count_as_wrong() -> None:
    labels = np.array([0, 0, 1])
    found = point(np.array([[2.0, 0], [np.nan, 1], [0, np.inf]]), labels)
    assert found.loss == np.inf
    assert found.error == pytest.approx(2 / 3)
