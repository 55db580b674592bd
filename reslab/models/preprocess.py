"""Images as a trained model takes them: read, cut and scaled as in its training."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np

from reslab.core.errors import UserError
from reslab.data import images as pictures
from reslab.data.formats import BadImage
from reslab.data.scale import GreyScale

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

    Image = str | os.PathLike[str] | bytes | BinaryIO | Picture | np.ndarray


class Preprocess:
    """Turn images into the batch that a trained model takes. `reslab.load` attaches it.

    The images are cut and scaled exactly as in the training of the model and as in
    `reslab.predict`. The model itself normalises them.

    Args:
        image_shape: (height, width, channels) of the model's images.
        margin: Whether the centre is cut out with the usual margin, as from folders of images.
        scale: The scale of grey values with more than 8 bits in the training; None if there were
            none: then integers of 0..65535 are read, and floats are refused.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], margin: bool, scale: GreyScale | None = None
    ) -> None:
        self.image_shape, self.margin, self.scale = image_shape, margin, scale

    @classmethod
    def of_card(cls, card: Mapping[str, Any]) -> Preprocess:
        """The one for a model with this card."""
        height, width, channels = card["image_shape"]
        # only images from a folder were cut with a margin
        scale = GreyScale.of(card.get("scale"))
        return cls((height, width, channels), margin=bool(card["view"]), scale=scale)

    def __repr__(self) -> str:
        return f"Preprocess({self.image_shape}, margin={self.margin})"

    def __call__(self, images: Image | Iterable[Image]) -> np.ndarray:
        """Turn one image or several into a batch.

        Args:
            images: One image or several: paths, encoded files as bytes or as open binary files,
                Pillow images, or uint8 arrays in 0..255. An array is one image (h, w), (h, w, 1),
                (h, w, 3) or (h, w, 4), or several (n, h, w, c).

        Returns:
            uint8 (n, height, width, channels). n is 1 for one image. A path and its bytes give the
            same bits; a decoded JPEG file that is much larger than the model's images can differ
            by a few grey levels, because files are decoded at a reduced size.

        Raises:
            UserError: An image cannot be read, or an array is not an image.
        """
        if _is_one(images):
            return self._image(images, "the image")[None]
        several = enumerate(images)  # type: ignore[arg-type]
        batch = [self._image(image, f"image {i}") for i, image in several]
        return np.stack(batch) if batch else np.zeros((0, *self.image_shape), np.uint8)

    def _image(self, image: Any, name: str) -> np.ndarray:
        try:
            if isinstance(image, str | os.PathLike):
                name = os.fspath(image)
                file: Any = Path(name)
            elif isinstance(image, bytes | bytearray | memoryview):
                file = io.BytesIO(image)
            elif hasattr(image, "read"):
                file = io.BytesIO(image.read())
            else:
                return self._view(picture(image, name, self.scale))
            return self.read(file)
        except BadImage as error:
            raise UserError(f"{name} cannot be read: {error}") from None

    def read(self, file: Path | IO[bytes]) -> np.ndarray:
        """Read one file: uint8 (height, width, channels). Raises BadImage."""
        height, width, channels = self.image_shape
        return pictures.read_view(
            file, (height, width), channels, margin=self.margin, scale=self.scale
        )

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Cut and scale one array, as a call does. Raises UserError if it is not an image."""
        return self._view(picture(image, "the image", self.scale))

    def _view(self, picture: Picture) -> np.ndarray:
        height, width, channels = self.image_shape
        view = pictures.view(picture, (height, width), None, None, self.margin)
        return pictures.to_array(view, channels)


class NoPreprocess:
    """In the place of `Preprocess` for a model whose images are not known: it says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def __call__(self, images: Image | Iterable[Image]) -> np.ndarray:
        raise UserError(self.reason)


def _is_one(images: Any) -> bool:
    from PIL import Image

    if isinstance(images, np.ndarray):
        return images.ndim < 4
    one = str, os.PathLike, bytes, bytearray, memoryview, Image.Image
    return isinstance(images, one) or hasattr(images, "read") or not hasattr(images, "__iter__")


def picture(image: Any, name: str, scale: GreyScale | None = None) -> Picture:
    """A Pillow image in mode L or RGB, from a Pillow image or an array."""
    from PIL import Image, ImageOps

    if isinstance(image, Image.Image):
        try:
            return pictures.plain(ImageOps.exif_transpose(image), scale)
        except ValueError as error:
            raise UserError(f"{name} cannot be read: {error}") from None
    if not isinstance(image, np.ndarray):
        raise UserError(
            f"{name} is a {type(image).__name__}; give a path, bytes, a Pillow image or an array"
        )
    if image.dtype != np.uint8:
        raise UserError(
            f"{name} is an array of {image.dtype}; give values of 0 to 255 as uint8, such as "
            'array.astype("uint8")'
        )
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    if not image.size or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))):
        raise UserError(
            f"{name} is an array of shape {image.shape}; give (height, width) or "
            "(height, width, channels) with 1, 3 or 4 channels"
        )
    return pictures.plain(Image.fromarray(np.ascontiguousarray(image)))
