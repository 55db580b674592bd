"""Directions in the space of weights, by name: random ones, and the plane of a training.

Only kernels are moved by random directions: biases and batch norm's scales and shifts have one
axis, and stand still, as running statistics do (Li et al. 2018, their `--xignore biasbn`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from reslab.core.rng import Stream

Weights = Mapping[str, np.ndarray]
TINY = 1e-10  # in Li et al.'s code: a filter of zeros stays one


def kernels(weights: Weights) -> dict[str, np.ndarray]:
    """The weights of more than one axis: of convolutions and full connections."""
    return {
        name: w for name, w in weights.items() if w.ndim > 1 and np.issubdtype(w.dtype, np.floating)
    }


def norms(kernel: np.ndarray) -> np.ndarray:
    """Of each filter, to be broadcast. Keras has filters, and a full connection's neurons, last:
    (h, w, in / groups, out), (in, out)."""
    axes = tuple(range(kernel.ndim - 1))
    return np.sqrt(np.square(kernel, dtype="float64").sum(axes, keepdims=True))


def filter_normalised(weights: Weights, seed: int, which: int) -> dict[str, np.ndarray]:
    """Gaussian numbers, each filter scaled to the norm of the filter that it moves (Sec. 4).

    float32, for each of `kernels(weights)`. `which` is 0 or 1, for a plane's two axes. A kernel's
    numbers depend on the seed and on its name alone: nets share what they have in common.
    """
    found = {}
    for name, w in kernels(weights).items():
        drawn = Stream(seed, "landscape", which, name).normal(w.size).reshape(w.shape)
        found[name] = (drawn * (norms(w) / (norms(drawn) + TINY))).astype("float32")
    return found


# The plane of a training -------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """Two orthonormal directions through the last weights, and where a training passed.

    `share` is the part of the variance that each direction has, `at` (n, 2) the projections.
    """

    axes: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
    share: tuple[float, float]
    at: np.ndarray


def principal(names: Iterable[str], path: Callable[[str], np.ndarray]) -> Plane:
    """The first two principal components of theta_i - theta_n (Sec. 7).

    `path(name)` are the values of a weight in time, (n, *shape), n at least 3. For the components
    means are subtracted, as in the authors' code, for the projections they are not. Weight by
    weight, so that no more than one of them is in memory n times.
    """
    names = list(names)
    gram = sum(rows @ rows.T for rows in (_steps(path(name)) for name in names))
    n = len(gram)
    centre = np.eye(n) - 1 / n
    values, vectors = np.linalg.eigh(centre @ gram @ centre)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1]
    total = values.sum() or 1.0
    # components are sums of the centred rows, of length sqrt(value)
    mix = centre @ vectors[:, :2] / np.sqrt(np.maximum(values[:2], TINY))
    mix *= np.where((gram @ mix)[0] < 0, -1, 1)  # the first weights lie to the right and above
    axes: tuple[dict[str, np.ndarray], dict[str, np.ndarray]] = ({}, {})
    for name in names:
        values_in_time = path(name)
        made = mix.T @ _steps(values_in_time)
        for axis, flat in zip(axes, made, strict=True):
            axis[name] = flat.reshape(values_in_time.shape[1:]).astype("float32")
    share = float(values[0] / total), float(values[1] / total)
    return Plane(axes, share, gram @ mix)


def _steps(values: np.ndarray) -> np.ndarray:
    """(n, size) float64: how far from the last."""
    rows = values.reshape(len(values), -1).astype("float64")
    return rows - rows[-1]
