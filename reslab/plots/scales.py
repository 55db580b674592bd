"""Logarithmic scales of positive numbers, such as losses: range, positions, round ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

LEAST = 1e-3  # smaller values are drawn here: a logarithmic axis needs an end


def log_range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    """The log10 of the smallest and of the largest finite value in all arrays."""
    exponents = np.concatenate([np.ravel(array) for array in values])
    exponents = np.log10(np.maximum(exponents[np.isfinite(exponents)], LEAST))
    if not exponents.size:
        return -1.0, 1.0
    low, high = float(exponents.min()), float(exponents.max())
    return (low, high) if high - low > 1e-3 else (low - 0.05, high + 0.05)


def log10(values: np.ndarray) -> np.ndarray:
    """Positions on a log axis; NaN where a value is not finite."""
    with np.errstate(all="ignore"):
        return np.where(np.isfinite(values), np.log10(np.maximum(values, LEAST)), np.nan)


def log_ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Round values between 10**low and 10**high: 1, 2 and 5 of each power of ten, or fewer."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks: list[float] = []
    for digits in ((1, 2, 5), (1, 3), (1,)):
        candidates = [float(f"{digit}e{power}") for power in powers for digit in digits]
        ticks = [tick for tick in candidates if low - 1e-9 <= math.log10(tick) <= high + 1e-9]
        if len(ticks) <= most:
            break
    ticks = ticks[:: math.ceil(len(ticks) / most) or 1]
    return ticks if len(ticks) > 1 else [float(f"{10**end:.2g}") for end in (low, high)]
