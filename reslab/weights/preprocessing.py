"""How pictures become a network's input, where the network was trained elsewhere."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from reslab.core.errors import UserError
from reslab.data import images

IMAGENET_MEAN = 0.485, 0.456, 0.406  # of RGB in 0..1, over ImageNet's training images
IMAGENET_STD = 0.229, 0.224, 0.225


@dataclass(frozen=True)
class Preprocessing:
    """The shorter side to `resize` pixels, the middle square of `size`, then (x - mean) / std.

    `mean` and `std` are in units of 0..255, in the `order` "rgb" or "bgr" that the network takes.
    `resize` None squeezes the whole picture into the square.
    """

    size: int = 224
    resize: int | None = 256
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = tuple(255 * m for m in IMAGENET_MEAN)  # type: ignore[assignment]
    std: tuple[float, float, float] = tuple(255 * s for s in IMAGENET_STD)  # type: ignore[assignment]
    order: str = "rgb"

    def picture(self, file: Path | IO[bytes]) -> np.ndarray:
        """uint8 (size, size, 3), RGB. Raises images.BadImage for what is no picture."""
        from PIL import Image

        opened = images.open_picture(file).convert("RGB")
        how = Image.Resampling[self.interpolation.upper()]
        width, height = opened.size
        if self.resize is None:
            return np.asarray(opened.resize((self.size, self.size), how))
        # the longer side is cut to whole pixels, and the middle rounded, as torchvision does
        shorter = min(width, height)
        sides = [int(self.resize * n / shorter) for n in (width, height)]
        opened = opened.resize((sides[0], sides[1]), how)
        left, top = (round((n - self.size) / 2) for n in sides)
        return np.asarray(opened.crop((left, top, left + self.size, top + self.size)))

    def standardise(self, pictures: np.ndarray) -> np.ndarray:
        """float32 of the same shape (n, h, w, 3), from RGB in 0..255."""
        if self.order == "bgr":
            pictures = pictures[..., ::-1]
        out = pictures.astype("float32") - np.asarray(self.mean, "float32")
        return out / np.asarray(self.std, "float32")

    def encode(self) -> dict[str, Any]:
        return asdict(self)


def decode(data: Any) -> Preprocessing:
    """Raises UserError where the data describe none."""
    try:
        made = Preprocessing(**{**data, "mean": tuple(data["mean"]), "std": tuple(data["std"])})
        numbers = [*made.mean, *made.std, made.size, made.resize or 1]
        if not all(isinstance(n, int | float) for n in numbers) or len(made.mean + made.std) != 6:
            raise ValueError("six numbers are mean and std")
        if made.order not in ("rgb", "bgr") or min(made.std) <= 0 or made.size < 1:
            raise ValueError(f"order {made.order}, std {made.std}")
        _ = _RESAMPLING[made.interpolation]
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UserError(f"not a preprocessing of pictures: {error}") from None
    return made


_RESAMPLING = dict.fromkeys(("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming"))
