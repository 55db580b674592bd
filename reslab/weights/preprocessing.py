"""How images become the input of a network that was trained with another library."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from reslab.core.errors import UserError
from reslab.data import images

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

IMAGENET_MEAN = 0.485, 0.456, 0.406  # of RGB in 0..1, over ImageNet's training images
IMAGENET_STD = 0.229, 0.224, 0.225
INTERPOLATIONS = "nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of images: resize, centre crop, normalise.

    The defaults are those of torchvision's first ImageNet weights.

    Attributes:
        size: The side of the square centre crop, in pixels: the network's input size.
        resize: The length in pixels to which the shorter side of the image is resized before the
            crop. None: the whole image is resized to the square, whatever its aspect ratio.
        interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming", as in
            Pillow.
        mean: The mean of each channel in units of 0..255, in the order `order`.
        std: The standard deviation of each channel in units of 0..255, in the order `order`.
        order: The order of the channels that the network takes, "rgb" or "bgr".
    """

    size: int = 224
    resize: int | None = 256
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = tuple(255 * m for m in IMAGENET_MEAN)  # type: ignore[assignment]
    std: tuple[float, float, float] = tuple(255 * s for s in IMAGENET_STD)  # type: ignore[assignment]
    order: str = "rgb"

    def picture(self, file: Path | IO[bytes]) -> np.ndarray:
        """Read an image file, resize it and crop its centre.

        Args:
            file: The path of an image in any format that Pillow reads, or an open binary file.

        Returns:
            uint8 (size, size, 3), in RGB.

        Raises:
            BadImage: The file is not an image, or is damaged.
        """
        return np.asarray(self.view(images.open_picture(file).convert("RGB")))

    def view(self, image: Picture) -> Picture:
        """Resize a decoded image and crop its centre: `size` x `size`."""
        from PIL import Image

        sides, box = placed(image.width, image.height, self.size, self.resize)
        return image.resize(sides, Image.Resampling[self.interpolation.upper()]).crop(box)

    def seen(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The part of an image that the network sees: left, top, right and bottom in pixels.

        It is larger than the image where `view` adds a border.
        """
        sides, box = placed(width, height, self.size, self.resize)
        across, down = width / sides[0], height / sides[1]
        return box[0] * across, box[1] * down, box[2] * across, box[3] * down

    def normalise(self, pictures: np.ndarray) -> np.ndarray:
        """Convert RGB images to the input of the network: (x - mean) / std.

        Args:
            pictures: An array (n, height, width, 3) of RGB values in 0..255.

        Returns:
            float32 (n, height, width, 3), with the channels in the order `order`.
        """
        if self.order == "bgr":
            pictures = pictures[..., ::-1]
        out = pictures.astype("float32") - np.asarray(self.mean, "float32")
        return out / np.asarray(self.std, "float32")

    def encode(self) -> dict[str, Any]:
        """The preprocessing as JSON data, for the note of a weight file."""
        return asdict(self)


def placed(
    width: int, height: int, size: int, resize: int | None
) -> tuple[tuple[int, int], tuple[int, int, int, int]]:
    """The (width, height) to which an image is resized, and the box of the crop after it.

    As in torchvision, the longer side is truncated to an integer, and the offset is rounded.
    """
    if resize is None:
        return (size, size), (0, 0, size, size)
    shorter = min(width, height)
    sides = int(resize * width / shorter), int(resize * height / shorter)
    left, top = (round((n - size) / 2) for n in sides)
    return sides, (left, top, left + size, top + size)


def decode(data: Any) -> Preprocessing:
    """The inverse of `Preprocessing.encode`. Raises UserError for invalid data."""
    try:
        decoded = Preprocessing(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})
        numbers = [*decoded.mean, *decoded.std, decoded.size, decoded.resize or 1]
        if not all(isinstance(n, int | float) for n in numbers):
            raise ValueError("mean, std, size and resize must be numbers")
        if len(decoded.mean + decoded.std) != 6:
            raise ValueError("mean and std must have three numbers each")
        if decoded.order not in ("rgb", "bgr") or min(decoded.std) <= 0 or decoded.size < 1:
            raise ValueError(f"order {decoded.order}, std {decoded.std}, size {decoded.size}")
        if decoded.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation {decoded.interpolation!r}")
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"the image preprocessing is not valid: {error}") from None
    return decoded
