"""Intervals of values that are no rates of images: by a bootstrap over the images (NumPy only)."""

from __future__ import annotations

import numpy as np

from reslab.core.rng import Stream

RESAMPLES = 500
MOST_NUMBERS = 2 * 10**8  # images x values x resamples: larger sets have fewer resamples
FEWEST_RESAMPLES = 100


def resamples(n: int, values: int = 1) -> int:
    """How many samples to draw of n images, for a number of values of each image."""
    return int(np.clip(MOST_NUMBERS / (n * values), FEWEST_RESAMPLES, RESAMPLES))


def weights(n: int, samples: int) -> np.ndarray:
    """How often each image is in each sample; float32 (samples + 1, n), the first row is 1.

    The same for every call: results of two models on the same images can be compared.
    """
    counts: list[np.ndarray] = [np.ones(n)]
    stream = Stream("bootstrap", n)
    counts += [np.bincount(stream.integers(n, n), minlength=n) for _ in range(samples)]
    return np.stack(counts).astype(np.float32)  # whole numbers: their sums are exact


def percentiles(values: np.ndarray) -> dict[str, float | None]:
    """The value of the images, which comes first, with the 95 % percentiles of the samples."""
    if not np.isfinite(values[0]):
        return {"value": None, "low": None, "high": None}
    low, high = np.nanpercentile(values, [2.5, 97.5])
    value = float(values[0])
    return {"value": value, "low": min(value, float(low)), "high": max(value, float(high))}
