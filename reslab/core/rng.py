"""Random numbers as pure functions of a key: the same bits on every machine and numpy.

Numpy promises the raw output of a bit generator, but not how `Generator` turns it into
permutations and reals. So only `random_raw` is used here, and the rest is written down.
"""

from __future__ import annotations

import hashlib

import numpy as np


class Stream:
    """The random numbers that belong to a key, such as `Stream(seed, "order", epoch)`.

    Keys are integers and strings. Two streams of one key are equal, of two keys independent.
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
        """int64 (n,) in 0..high-1; high is far below 2**53, so no bias is to be seen."""
        return (self.uniform(n) * high).astype(np.int64)

    def normal(self, n: int) -> np.ndarray:
        """float64 (n,) of mean 0 and deviation 1: Box and Muller 1958."""
        radius = np.sqrt(-2 * np.log1p(-self.uniform(n)))
        return radius * np.cos(2 * np.pi * self.uniform(n))

    def permutation(self, n: int) -> np.ndarray:
        """int64 (n,): 0..n-1 in random order."""
        return np.argsort(self.raw(n), kind="stable")

    def seed(self) -> int:
        """A seed for somebody else's generator, in 0..2**31-1."""
        return int(self.raw(1)[0] >> np.uint64(33))
