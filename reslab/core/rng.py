"""Random numbers as pure functions of a key: the same bits on every machine and NumPy version.

NumPy guarantees the raw output of a bit generator, but not how `Generator` makes permutations and
real numbers of it. So this module uses `random_raw` alone and computes the rest itself.
"""

from __future__ import annotations

import hashlib

import numpy as np


class Stream:
    """A sequence of random numbers that a key determines, such as `Stream(seed, "order", epoch)`.

    Keys consist of integers and strings. Streams of equal keys are equal; streams of different keys
    are independent.
    """

    def __init__(self, *key: int | str) -> None:
        digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
        self._bits = np.random.Philox(key=int.from_bytes(digest, "little"))

    def raw(self, n: int) -> np.ndarray:
        """uint64 (n,)."""
        return self._bits.random_raw(int(n))

    def uniform(self, n: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
        """float64 (n,) in [low, high)."""
        return low + (high - low) * ((self.raw(n) >> np.uint64(11)) * 2.0**-53)

    def integers(self, n: int, high: int) -> np.ndarray:
        """int64 (n,) in 0..high-1. The bias is negligible, as high is far below 2**53."""
        return (self.uniform(n) * high).astype(np.int64)

    def normal(self, n: int) -> np.ndarray:
        """float64 (n,) with mean 0 and standard deviation 1 (Box and Muller 1958)."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(n)))
        return radius * np.cos(2 * np.pi * self.uniform(n))

    def permutation(self, n: int) -> np.ndarray:
        """int64 (n,): 0..n-1 in random order."""
        return np.argsort(self.raw(n), kind="stable")

    def seed(self) -> int:
        """A seed for another generator, in 0..2**31-1."""
        return int(self.raw(1)[0] >> np.uint64(33))
