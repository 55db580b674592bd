"""Normalise images with the mean and std of the training part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reslab.core.errors import UserError, unknown
from reslab.core.rng import Stream

from .dataset import ArraySplit, Split

_CHUNK = 512
_SAMPLE = 2048  # images of a folder that are decoded to compute the mean and std

KINDS = {
    "pixel-mean": "the mean of each pixel subtracted (He 2015), then one std for all",
    "pixel": "the mean of each pixel subtracted, then one std for each channel",
    "channel": "one mean and one std for each channel",
    "unit": "x / 255",
}


@dataclass(frozen=True, eq=False)
class Normalization:
    """Normalise images: `(x - mean) / std`.

    Args:
        mean: float32, broadcastable to (h, w, c), in units of 0 to 255.
        std: float32, broadcastable to (h, w, c), in units of 0 to 255.
    """

    mean: np.ndarray
    std: np.ndarray

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Normalise a batch.

        Args:
            images: any numeric dtype, (n, h, w, c), 0 to 255.

        Returns:
            float32 (n, h, w, c).
        """
        out = images.astype(np.float32)
        out -= self.mean
        out *= np.float32(1) / self.std
        return out


def stored(
    arrays: Mapping[str, np.ndarray], image_shape: Sequence[int], path: Path
) -> Normalization:
    """The mean and std in a file of a run, for images of this shape.

    Raises:
        UserError: the file has none, or some that do not fit the images.
    """
    try:
        mean, std = arrays["mean"], arrays["std"]
        for array in (mean, std):
            np.broadcast_to(array, tuple(image_shape))
            if array.dtype.kind != "f" or not np.isfinite(array).all() or (std <= 0).any():
                raise ValueError
    except (KeyError, ValueError):
        raise UserError(
            f"{path} is damaged: it has no mean and std for images of "
            f"{'x'.join(map(str, image_shape))}; restore it from a copy"
        ) from None
    return Normalization(mean, std)


def to_layout(images: np.ndarray, input_shape: Sequence[int | None]) -> np.ndarray:
    """Transpose images to the data format of a model.

    Args:
        images: any dtype, (n, h, w, c).
        input_shape: the model's input shape with the batch axis, NHWC or NCHW.

    Returns:
        The images themselves if the model takes NHWC, else a contiguous copy in NCHW.
    """
    if tuple(input_shape[1:]) == images.shape[1:]:
        return images
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def normalization(split: Split, kind: str) -> Normalization:
    """Compute the mean and std of a split.

    He 2015 (v1, Sec. 4.2) subtracts the mean of each pixel and does not divide. With batch norm
    the scale of the input does not matter, but networks without it need a unit scale. So
    "pixel-mean" divides by a single number, the std of the differences, which keeps the relative
    scale of the channels as in the paper.

    Args:
        split: the training part. Of image files a fixed sample of 2,048 is read, of arrays all.
        kind: "pixel-mean", "pixel" (one std for each channel), "channel" (one mean and one std
            for each channel) or "unit" (mean 0, std 255).

    Returns:
        The normalisation, with float32 arrays of shape (h, w, c), (1, 1, c) or (1, 1, 1).

    Raises:
        UserError: there is no such kind.
    """
    if kind not in KINDS:
        raise unknown("normalisation", kind, KINDS)
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
    std[std == 0] = 1  # all images are equal
    return Normalization(mean.astype(np.float32), std.astype(np.float32))


def _sums(split: Split) -> tuple[np.ndarray, np.ndarray, int]:
    """The sum and the sum of squares of each pixel, (h, w, c), exact; and the number of images."""
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
