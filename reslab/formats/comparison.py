"""Whether an exported file answers as Keras does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image

from reslab.core.errors import UserError
from reslab.data import images
from reslab.engines.exported import Exported
from reslab.formats.exportable import Exportable
from reslab.formats.views import CentreView, View
from reslab.weights import preprocessing

TOLERANCE = 1e-4  # of the largest probability
LEVELS = 2  # of 255, by which a pixel of the view may differ from Pillow's
MEAN_LEVEL = 0.1  # by which they may differ on average
SCALES = ((1.0, 1.0), (2.3, 1.7), (0.7, 1.1), (1.5, 3.1))  # heights and widths of the pictures
BATCHES = (1, 3)


@dataclass(frozen=True)
class Difference:
    """Between a file and Keras: of probabilities, and of the pixels of the view (0 to 255).

    `maps` is that of the class activation maps, relative to the largest value, and None without
    them.
    """

    probabilities: float
    pixels: float
    mean_pixels: float
    pictures: int
    maps: float | None = None


def compare(
    source: Exportable, whole: Exported, view: Exported | None, exact: bool = True
) -> Difference:
    """Compare a file with Keras, in batches of 1 and 3 pictures.

    Args:
        source: What was exported.
        whole: The file: pictures to probabilities.
        view: The part of the file that resizes and crops; None if the file takes images of the
            size of the model.
        exact: Whether the probabilities and maps must be those of Keras; not so in eight bits.

    Raises:
        UserError: The differences are too large.
    """
    probabilities, pixels, means, maps = [0.0], [0.0], [0.0], [0.0]
    scales = SCALES if view else SCALES[:1]
    first = 0
    for batch, scale in product(BATCHES, scales):
        chosen = np.arange(first, first + batch) % len(source.examples)
        first += batch
        pictures = _resized(source.examples[chosen], scale)
        seen = view(pictures).astype("uint8") if view else source.in_order(pictures)
        expected, answer = source.expected(seen), whole(pictures)
        if answer.shape != expected.shape:
            raise UserError(f"the file answers with {answer.shape}, not {expected.shape}")
        if not np.isfinite(answer).all():
            raise UserError("the file does not answer as Keras does: it gives NaN or infinity")
        probabilities.append(np.abs(answer - expected).max() / np.abs(expected).max())
        if whole.maps:
            maps.append(_maps_gap(source, whole.maps(pictures), seen))
        if view:
            gaps = np.abs(seen - source.in_order(rows_first(source.view, pictures)).astype(float))
            pixels.append(gaps.max())
            means.append(gaps.mean())
    return _checked(
        Difference(
            probabilities=float(max(probabilities)),
            pixels=float(max(pixels)),
            mean_pixels=float(max(means)),
            pictures=min(first, len(source.examples)),
            maps=float(max(maps)) if whole.maps else None,
        ),
        TOLERANCE if exact else np.inf,
    )


def _maps_gap(source: Exportable, answer: np.ndarray, images: np.ndarray) -> float:
    """The largest difference of class activation maps, relative to the largest value."""
    _, expected = source.maps.predict_on_batch(images.astype("float32"))
    expected = np.asarray(expected, "float32")
    if answer.shape != expected.shape or not np.isfinite(answer).all():
        raise UserError(f"the file has maps of {answer.shape}, not {expected.shape}")
    return float(np.abs(answer - expected).max() / np.abs(expected).max())


def _checked(found: Difference, tolerance: float) -> Difference:
    if found.probabilities > tolerance:
        raise UserError(
            f"the file does not answer as Keras does: the probabilities differ by "
            f"{found.probabilities:.2g} of the largest, and {tolerance:g} is the most"
        )
    if found.maps is not None and found.maps > tolerance:
        raise UserError(
            f"the file does not answer as Keras does: the class activation maps differ by "
            f"{found.maps:.2g} of the largest value, and {tolerance:g} is the most"
        )
    if found.pixels > LEVELS or found.mean_pixels > MEAN_LEVEL:
        raise UserError(
            f"the file does not resize as Pillow does: pixels differ by up to {found.pixels:.0f} "
            f"of 255, {found.mean_pixels:.2g} on average"
        )
    return found


def _resized(pictures: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    height, width = pictures.shape[1:3]
    size = max(1, round(width * scale[1])), max(1, round(height * scale[0]))
    if size == (width, height):
        return pictures
    return np.stack([_array(_picture(p).resize(size, Image.Resampling.BICUBIC)) for p in pictures])


def rows_first(view: View, pictures: np.ndarray) -> np.ndarray:
    """The views by Pillow, first along the rows and then along the columns, as files compute them.

    From version 13 on, Pillow takes the columns first for some sizes, so here it gets one axis at a
    time.

    Returns:
        uint8 (n, height, width, channels).
    """
    return np.stack([_array(_rows_first(view, _picture(pixels))) for pixels in pictures])


def _rows_first(view: View, picture: Image.Image) -> Image.Image:
    how = Image.Resampling[view.interpolation.upper()]
    width, height = picture.size
    if isinstance(view, CentreView):
        left, top, right, bottom = images.centre_box(
            width, height, view.height, view.width, view.margin
        )
        across = picture.resize((view.width, height), how, box=(left, 0, right, height))
        return across.resize((view.width, view.height), how, box=(0, top, view.width, bottom))
    sides, box = preprocessing.placed(width, height, view.height, view.resize)
    return picture.resize((sides[0], height), how).resize(sides, how).crop(box)


def _picture(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(
        np.ascontiguousarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    )


def _array(picture: Image.Image) -> np.ndarray:
    pixels = np.asarray(picture)
    return pixels[..., None] if pixels.ndim == 2 else pixels
