"""Maps over pictures: where a model sees a class, in colours."""

from __future__ import annotations

from functools import cache

import numpy as np

COLOURS = "inferno"  # perceptually uniform, and in order of lightness for colour-blind readers too
OPACITY = 0.58  # of the map over the picture
DIMMED = 0.4  # of its brightness has the part of a picture that the model does not see

Box = tuple[float, float, float, float]  # left, top, right and bottom in pixels


@cache
def colours() -> np.ndarray:
    """The colour map: uint8 (256, 3)."""
    import matplotlib

    return np.asarray(
        (255 * matplotlib.colormaps[COLOURS](np.arange(256))[:, :3]).round(), np.uint8
    )


def overlay(picture: np.ndarray, values: np.ndarray, box: Box | None = None) -> np.ndarray:
    """Draw the positive part of a map over a picture, relative to its largest value.

    The picture is grey below the map, so that its colours do not mix with those of the map.

    Args:
        picture: uint8 (height, width, 1 or 3).
        values: The map, (rows, columns).
        box: The part of the picture that the map covers; None for all of it.

    Returns:
        uint8 (height, width, 3).
    """
    height, width, channels = picture.shape
    grey = picture.astype("float32") @ (
        np.array([0.299, 0.587, 0.114], "float32") if channels == 3 else np.ones(1, "float32")
    )
    left, top, right, bottom = box or (0, 0, width, height)
    u = (np.arange(width) + 0.5 - left) / (right - left)
    v = (np.arange(height) + 0.5 - top) / (bottom - top)
    largest = float(values.max())
    share = np.clip(values / largest, 0, 1) if largest > 0 else np.zeros_like(values)
    colour = colours()[(255 * _enlarged(share, v, u)).round().astype(int)]
    over = OPACITY * colour + (1 - OPACITY) * grey[..., None]
    seen = ((v >= 0) & (v <= 1))[:, None] & ((u >= 0) & (u <= 1))[None]
    out = np.where(seen[..., None], over, DIMMED * grey[..., None])
    return np.asarray(out.round(), np.uint8)


def _enlarged(values: np.ndarray, v: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Values between the centres of a map's cells, at positions from 0 to 1 along its axes."""
    return _between(_between(values, v).T, u).T


def _between(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Linear interpolation along the first axis."""
    n = len(values)
    at = np.clip(positions * n - 0.5, 0, n - 1)
    first = np.floor(at).astype(int)
    part = (at - first)[:, None]
    return np.asarray((1 - part) * values[first] + part * values[np.minimum(first + 1, n - 1)])
