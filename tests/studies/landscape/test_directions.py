"""Directions against their definitions in Li et al. 2018."""

from __future__ import annotations

import numpy as np
import pytest

from reslab.studies.landscape.directions import filter_normalised, kernels, principal

SHAPES = {
    "conv/kernel": (3, 3, 4, 6),
    "grouped/kernel": (3, 3, 2, 6),
    "head/kernel": (6, 5),
    "head/bias": (5,),
    "bn/gamma": (6,),
    "bn/moving_mean": (6,),
}


def weights(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {name: rng.normal(size=shape).astype("float32") for name, shape in SHAPES.items()}
    made["dropout/seed_generator_state"] = np.array([[1, 2]], "uint32")
    made["conv/kernel"][..., 2] = 0  # a dead filter
    return made


def test_only_kernels_change() -> None:
    moved = filter_normalised(weights(), 0, 0)
    assert set(moved) == {"conv/kernel", "grouped/kernel", "head/kernel"} == set(kernels(weights()))


def test_each_filter_has_the_norm_of_the_networks_filter() -> None:
    """d_ij / ||d_ij|| ||theta_ij||, j over filters: the last axis in Keras."""
    w = weights()
    for name, d in filter_normalised(w, 3, 1).items():
        assert d.dtype == np.float32
        for j in range(d.shape[-1]):
            filters = d[..., j], w[name][..., j]
            norms = [float(np.sqrt(sum(v * v for v in f.ravel().tolist()))) for f in filters]
            assert norms[0] == pytest.approx(norms[1], rel=1e-5)


def test_normalisation_keeps_the_orientation_of_a_filter() -> None:
    """Scaling the filters of the weights scales those of the direction, and rotates none."""
    w = weights()
    first = filter_normalised(w, 0, 0)["conv/kernel"]
    factor = np.array([1, 2, 3, 4, 5, 6], "float32")
    w["conv/kernel"] *= factor
    np.testing.assert_allclose(filter_normalised(w, 0, 0)["conv/kernel"], first * factor, rtol=1e-5)
    live = np.delete(first, 2, axis=-1).reshape(-1, 5)
    unit = live / live.std(0)
    assert abs(unit.mean()) < 0.2  # they are Gaussian: neither all of one sign ...
    assert 2 < (unit**4).mean() < 4  # ... nor uniform (1.8); 3 is the Gaussian's


def test_directions_depend_on_seed_axis_and_name_only() -> None:
    w = weights()
    first = filter_normalised(w, 0, 0)
    again = filter_normalised({name: w[name] for name in ("head/kernel", "conv/kernel")}, 0, 0)
    for name, d in again.items():
        np.testing.assert_array_equal(d, first[name])
    for other in (filter_normalised(w, 1, 0), filter_normalised(w, 0, 1)):
        cosine = (other["conv/kernel"] * first["conv/kernel"]).sum() / (
            first["conv/kernel"] ** 2
        ).sum()
        assert abs(cosine) < 0.3


def test_the_principal_plane_equals_that_of_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(1)
    line = np.linspace(1, 0, 9)[:, None]
    path = {
        "a/kernel": line[..., None] ** 2 * rng.normal(size=(1, 4, 3)) * 5
        + rng.normal(size=(9, 4, 3)),
        "a/bias": line * rng.normal(size=(1, 3)) * 5 + rng.normal(size=(9, 3)),
    }
    plane = principal(path, path.__getitem__)

    flat = np.concatenate([values.reshape(9, -1) for values in path.values()], 1)
    steps = flat - flat[-1]
    _, s, vt = np.linalg.svd(steps - steps.mean(0), full_matrices=False)
    assert plane.share == pytest.approx(tuple(s[:2] ** 2 / (s**2).sum()))
    for k in (0, 1):
        axis = np.concatenate([plane.axes[k][name].ravel() for name in path])
        sign = np.sign(axis @ vt[k])
        np.testing.assert_allclose(axis, sign * vt[k], atol=1e-5)
        np.testing.assert_allclose(plane.at[:, k], sign * (steps @ vt[k]), atol=1e-6)
    np.testing.assert_allclose(plane.at[-1], 0, atol=1e-9)
    assert (plane.at[0] >= 0).all()
