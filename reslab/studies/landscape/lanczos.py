"""The ends of a Hessian's spectrum, by Lanczos's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reslab.core.rng import Stream

TOLERANCE = 0.02  # of an eigenvalue
LEAST = 1e-4  # of the larger one: what lies nearer to 0 counts as 0
ROUNDING = 1e-6  # of the larger one: nothing new is left of a product but this
MOST_STEPS = 100


@dataclass(frozen=True)
class Ends:
    """The smallest and the largest eigenvalue that were found, and the larger residual."""

    smallest: float
    largest: float
    residual: float
    products: int

    @property
    def ratio(self) -> float:
        """|lambda_min / lambda_max| (Li et al. 2018, Sec. 6): near 0 where all but convex."""
        return abs(self.smallest / self.largest) if self.largest else float("nan")


def ends(
    product: Callable[[np.ndarray], np.ndarray],
    size: int,
    tolerance: float = TOLERANCE,
    most: int = MOST_STEPS,
    seed: int = 0,
) -> Ends:
    """Both ends of the spectrum of a symmetric matrix, given as its products with vectors (size,).

    Lanczos 1950, each new vector made orthogonal to all before, twice, so that rounding makes no
    copies of eigenvalues. Stops when the residual of each end is `tolerance` of that end itself:
    of the larger one would not do, for an end near 0 that is not found yet has a small residual
    as well. Stops after `most` products at the latest. Not finite where a product is not.
    """
    basis = np.empty((min(most, size), size), "float32")
    diagonal: list[float] = []
    beside: list[float] = []
    vector = Stream(seed, "lanczos").normal(size)
    vector /= np.linalg.norm(vector)
    for k in range(len(basis)):
        basis[k] = vector
        image = product(vector)
        if not np.isfinite(image).all():
            return Ends(np.nan, np.nan, np.nan, k + 1)
        diagonal.append(float(vector @ image))
        for _ in range(2):
            image = image - basis[: k + 1].T @ (basis[: k + 1] @ image)
        left = float(np.linalg.norm(image))
        values, vectors = np.linalg.eigh(
            np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
        )
        scale = max(abs(values[0]), abs(values[-1]))
        residuals = left * np.abs(vectors[-1, [0, -1]])
        enough = np.maximum(tolerance * np.abs(values[[0, -1]]), LEAST * scale)
        if (residuals <= enough).all() or left <= ROUNDING * scale:
            break
        beside.append(left)
        vector = image / left
    return Ends(float(values[0]), float(values[-1]), float(residuals.max()), len(diagonal))
