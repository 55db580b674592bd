"""The extreme eigenvalues of a Hessian, by Lanczos's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from reslab.core.rng import Stream

TOLERANCE = 0.02  # of an eigenvalue
LEAST = 1e-4  # of the larger eigenvalue: smaller ones count as 0
ROUNDING = 1e-6  # of the larger eigenvalue: a smaller remainder is rounding error
MOST_STEPS = 100


@dataclass(frozen=True)
class Ends:
    """The smallest and the largest eigenvalue, the larger residual, and the number of products."""

    smallest: float
    largest: float
    residual: float
    products: int

    @property
    def ratio(self) -> float:
        """|lambda_min / lambda_max| (Li et al. 2018, Sec. 6): near 0 where almost convex."""
        return abs(self.smallest / self.largest) if self.largest else float("nan")


def ends(
    product: Callable[[np.ndarray], np.ndarray],
    size: int,
    tolerance: float = TOLERANCE,
    most: int = MOST_STEPS,
    seed: int = 0,
) -> Ends:
    """The extreme eigenvalues of a symmetric matrix, given its products with vectors (size,).

    Lanczos 1950. Each new vector is orthogonalised twice against all earlier ones, so that rounding
    does not duplicate eigenvalues. The iteration stops when the residual of each end is below
    `tolerance` times that end itself. (Relative to the larger end would not do: an end near 0 has a
    small residual before it has converged.) It stops after `most` products at the latest. The
    result is NaN if a product is not finite.
    """
    basis = np.empty((min(most, size), size), "float32")
    diagonal: list[float] = []
    off_diagonal: list[float] = []
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
        remainder = float(np.linalg.norm(image))
        values, vectors = np.linalg.eigh(
            np.diag(diagonal) + np.diag(off_diagonal, 1) + np.diag(off_diagonal, -1)
        )
        scale = max(abs(values[0]), abs(values[-1]))
        residuals = remainder * np.abs(vectors[-1, [0, -1]])
        enough = np.maximum(tolerance * np.abs(values[[0, -1]]), LEAST * scale)
        if (residuals <= enough).all() or remainder <= ROUNDING * scale:
            break
        off_diagonal.append(remainder)
        vector = image / remainder
    return Ends(float(values[0]), float(values[-1]), float(residuals.max()), len(diagonal))
