"""RandAugment (Cubuk 2019, arXiv 1909.13719), drawn for each image as in the paper."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from reslab.core.rng import Stream

Picture = Image.Image
_FILL = 128  # grey, where a moved picture leaves pixels empty


def rand_augment(
    images: np.ndarray, stream: Stream, operations: int, magnitude: float
) -> np.ndarray:
    """Apply `operations` of the 14 operations, drawn with equal probability, to each image.

    Images are float32 (b, h, w, c) in 0..255 with 1 or 3 channels. `magnitude` is 0 to 10. The
    sign of an operation that has a direction is drawn too.
    """
    choices = stream.integers(len(images) * operations, len(_OPERATIONS)).reshape(-1, operations)
    signs = (stream.integers(len(images) * operations, 2) * 2 - 1).reshape(-1, operations)
    out = np.empty_like(images)
    for i, image in enumerate(np.rint(np.clip(images, 0, 255)).astype(np.uint8)):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        for operation, sign in zip(choices[i], signs[i], strict=True):
            picture = _OPERATIONS[operation](picture, magnitude / 10, int(sign))
        out[i] = np.asarray(picture, np.float32).reshape(image.shape)
    return out


def _affine(picture: Picture, *matrix: float) -> Picture:
    fill = _FILL if picture.mode == "L" else (_FILL,) * 3
    return picture.transform(
        picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill
    )


def _rotate(picture: Picture, level: float, sign: int) -> Picture:
    fill = _FILL if picture.mode == "L" else (_FILL,) * 3
    return picture.rotate(30 * level * sign, Image.Resampling.BILINEAR, fillcolor=fill)


def _enhance(
    kind: Callable[[Picture], ImageEnhance._Enhance],
) -> Callable[[Picture, float, int], Picture]:
    """The factor is 0.1 or 1.9 at full magnitude."""
    return lambda picture, level, sign: kind(picture).enhance(1 + 0.9 * level * sign)


def _shift(level: float, sign: int, side: int) -> float:
    return 0.45 * level * sign * side  # 150 of 331 pixels at full magnitude


_OPERATIONS: tuple[Callable[[Picture, float, int], Picture], ...] = (
    lambda p, m, s: p,
    lambda p, m, s: ImageOps.autocontrast(p),
    lambda p, m, s: ImageOps.equalize(p),
    _rotate,
    lambda p, m, s: ImageOps.solarize(p, round(256 * (1 - m))),
    lambda p, m, s: ImageOps.posterize(p, 8 - round(4 * m)),
    _enhance(ImageEnhance.Color),
    _enhance(ImageEnhance.Contrast),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    lambda p, m, s: _affine(p, 1, 0.3 * m * s, 0, 0, 1, 0),
    lambda p, m, s: _affine(p, 1, 0, 0, 0.3 * m * s, 1, 0),
    lambda p, m, s: _affine(p, 1, 0, _shift(m, s, p.width), 0, 1, 0),
    lambda p, m, s: _affine(p, 1, 0, 0, 0, 1, _shift(m, s, p.height)),
)
