"""Directions in weight space, by variable name: random directions, and the plane of a training.

Random directions change kernels only. Biases, and batch norm's scales, shifts and running
statistics, are not changed (Li et al. 2018: `--xignore biasbn` of their code).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from reslab.core.rng import Stream

Weights = Mapping[str, np.ndarray]
TINY = 1e-10  # as in the code of Li et al.; a filter of zeros stays zero


def kernels(weights: Weights) -> dict[str, np.ndarray]:
    """The weights with more than one axis: those of convolutions and dense layers."""
    return {
        name: w for name, w in weights.items() if w.ndim > 1 and np.issubdtype(w.dtype, np.floating)
    }


def norms(kernel: np.ndarray) -> np.ndarray:
    """The norm of each filter, in a shape that broadcasts.

    Filters are the last axis in Keras: (h, w, in / groups, out) and (in, out).
    """
    axes = tuple(range(kernel.ndim - 1))
    return np.sqrt(np.square(kernel, dtype="float64").sum(axes, keepdims=True))


def filter_normalised(weights: Weights, seed: int, which: int) -> dict[str, np.ndarray]:
    """A Gaussian direction, each filter scaled to the norm of the network's filter (Sec. 4).

    float32 arrays for `kernels(weights)`. `which` is 0 or 1, for the two axes of a plane. The draws
    of a kernel depend on the seed and its name only, so networks with common layers share them.
    """
    direction = {}
    for name, w in kernels(weights).items():
        draws = Stream(seed, "landscape", which, name).normal(w.size).reshape(w.shape)
        direction[name] = (draws * (norms(w) / (norms(draws) + TINY))).astype("float32")
    return direction


# The plane of a training -------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """Two orthonormal directions through the last weights, and the projected training.

    `share` is the fraction of the variance along each direction, `at` (n, 2) the projections.
    """

    axes: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    share: tuple[float, float]
    at: np.ndarray


def principal(names: Iterable[str], path: Callable[[str], np.ndarray]) -> Plane:
    """The first two principal components of theta_i - theta_n (Sec. 7).

    `path(name)` returns the values of a variable over time, (n, *shape), n at least 3. The mean is
    subtracted for the components, as in the authors' code, but not for the projections. Variables
    are read one by one, so that only one of them is in memory n times.
    """
    names = list(names)
    gram = sum(rows @ rows.T for rows in (_steps(path(name)) for name in names))
    n = len(gram)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(centre @ gram @ centre)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    total = values.sum() or 1.0
    # components are combinations of the centred rows, of length sqrt(value)
    mix = centre @ vectors[:, :2] / np.sqrt(np.maximum(values[:2], TINY))
    mix *= np.where((gram @ mix)[0] < 0, -1, 1)  # the initial weights have positive coordinates
    axes: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    for name in names:
        values_in_time = path(name)
        components = mix.T @ _steps(values_in_time)
        for axis, flat in zip(axes, components, strict=True):
            axis[name] = flat.reshape(values_in_time.shape[1:]).astype("float32")
    share = float(values[0] / total), float(values[1] / total)
    return Plane(axes, share, gram @ mix)


def _steps(values: np.ndarray) -> np.ndarray:
    """Differences from the last row, (n, size) float64."""
    rows = values.reshape(len(values), -1).astype("float64")
    return rows - rows[-1]
