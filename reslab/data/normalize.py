"""From bytes to what a network is fed: (x - mean) / std, measured on the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reslab.core.errors import unknown
from reslab.core.rng import Stream

from .dataset import ArraySplit, Split

_CHUNK = 512
_SAMPLE = 2048  # images of a folder that are decoded to measure it

KINDS = {
    "pixel-mean": "the mean of each pixel subtracted (He 2015), then one std for all",
    "pixel": "the mean of each pixel subtracted, then one std for each channel",
    "channel": "one mean and one std for each channel",
    "unit": "x / 255",
}


@dataclass(frozen=True, eq=False)
class Normalization:
    """`(x - mean) / std` in units of 0..255; float32, broadcastable to (h, w, c)."""

    mean: np.ndarray
    std: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """float32 of the same shape, from images in 0..255."""
        out = images.astype(np.float32)
        out -= self.mean
        out *= np.float32(1) / self.std
        return out


def laid_out(images: np.ndarray, input_shape: Sequence[int | None]) -> np.ndarray:
    """Images (n, h, w, c) as a model of this input shape takes them: so, or (n, c, h, w)."""
    if tuple(input_shape[1:]) == images.shape[1:]:
        return images
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def normalization(split: Split, kind: str) -> Normalization:
    """Measured on `split`, which should be the training part.

    He 2015 subtracts the per-pixel mean and does not divide; under batch norm the scale of the
    input does not matter to the result, but a unit scale suits nets without it. So "pixel-mean"
    divides by one number, the standard deviation of all that is left after the subtraction, and
    keeps the relative scale of the channels as the paper does. Folders are measured on a seeded
    sample of 2,048 images, arrays on all.

    Raises:
        UserError: no such kind.
    """
    if kind not in KINDS:
        raise unknown("standardisation", kind, KINDS)
    channels = split.image_shape[-1]
    if kind == "unit":
        return Normalization(np.zeros((1, 1, channels), np.float32), np.full((1, 1, 1), 255, "f4"))
    total, squares, n = _sums(split)
    mean = total / n
    if kind == "channel":
        mean = mean.mean((0, 1), keepdims=True)
    # E[(x - m)^2] = E[x^2] - 2 m E[x] + m^2, for each pixel; then averaged as the kind says.
    variance = squares / n - 2 * mean * total / n + mean**2
    axes = (0, 1, 2) if kind == "pixel-mean" else (0, 1)
    std = np.sqrt(np.maximum(variance.mean(axes, keepdims=True), 0))
    std[std == 0] = 1  # images that are all alike
    return Normalization(mean.astype(np.float32), std.astype(np.float32))


def _sums(split: Split) -> tuple[np.ndarray, np.ndarray, int]:
    """Sum and sum of squares of each pixel, (h, w, c), exact in integers, and of how many."""
    positions = np.arange(len(split))
    if not isinstance(split, ArraySplit) and len(split) > _SAMPLE:
        positions = np.sort(Stream("standardise").permutation(len(split))[:_SAMPLE])
    total = np.zeros(split.image_shape, np.uint64)
    squares = np.zeros(split.image_shape, np.uint64)
    for start in range(0, len(positions), _CHUNK):
        chunk = split.images(positions[start : start + _CHUNK])
        total += chunk.sum(0, dtype=np.uint64)
        squares += np.square(chunk, dtype=np.uint16).sum(0, dtype=np.uint64)
    return total.astype(np.float64), squares.astype(np.float64), len(positions)
