"""The pixels of images that are Python objects: arrays of any type and layout, Pillow images."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reslab.core.errors import UserError

from . import images
from .images import Size, sides

GREY_OR_RGB = 1, 3


def is_array(thing: Any) -> bool:
    """Whether this is an array or a tensor of any library."""
    from PIL import Image

    return (
        hasattr(thing, "__array__")
        and hasattr(thing, "shape")
        and not isinstance(thing, Image.Image)
    )


def as_array(thing: Any) -> np.ndarray:
    """A NumPy array of an array or a tensor."""
    if hasattr(thing, "detach"):  # a tensor of PyTorch, perhaps on a GPU or with a gradient
        thing = thing.detach().cpu()
    return np.asarray(thing)


def opened(image: Any, name: str) -> np.ndarray:
    """The pixels of an image of any kind, in its own type and layout."""
    from PIL import Image, ImageOps

    if is_array(image):
        return as_array(image)
    try:
        if isinstance(image, Image.Image):
            return np.asarray(images.plain(ImageOps.exif_transpose(image)))
        if isinstance(image, str | os.PathLike):
            return np.asarray(images.open_picture(Path(image)))
        if isinstance(image, bytes | bytearray):
            return np.asarray(images.open_picture(io.BytesIO(image)))
    except images.BadImage as error:
        where = str(image) if isinstance(image, str | os.PathLike) else name
        raise UserError(f"{where} cannot be read: {error}") from None
    raise UserError(
        f"{name} is a {type(image).__name__}: give an array, a Pillow image, bytes or a path"
    )


def as_bytes(parts: Mapping[str, Any], notes: list[str]) -> dict[str, Sequence[np.ndarray]]:
    """The images of each part as uint8 (h, w, c), by one rule for all of them."""
    arrays = {
        part: batch
        if isinstance(batch, np.ndarray)
        else [opened(image, f"image {i}") for i, image in enumerate(batch)]
        for part, batch in parts.items()
    }
    layouts = {part: _nhwc(batch, notes) for part, batch in arrays.items()}
    every = [a for batch in layouts.values() for a in batch]
    kinds = {a.dtype for a in every}
    if kinds == {np.dtype(np.uint8)}:
        return layouts
    low, high = np.min([a.min() for a in every]), np.max([a.max() for a in every])  # NaN stays
    names = " and ".join(sorted(map(str, kinds)))
    if not all(np.issubdtype(kind, np.number) or kind.kind == "b" for kind in kinds):
        raise UserError(f"images are arrays of {names}: give numbers, 0 to 255 or 0 to 1")
    if not np.isfinite([low, high]).all() or low < 0 or high > 255:
        raise UserError(
            f"images are {names} from {low:.4g} to {high:.4g}: give 0 to 255, or 0 to 1 as floats; "
            "reslab normalises them itself"
        )
    factor = 255 if high <= 1 and any(np.issubdtype(kind, np.floating) for kind in kinds) else 1
    rule = "values of 0 to 1 were multiplied by 255" if factor == 255 else "values are 0 to 255"
    notes.append(f"images are {names}: {rule}, and rounded")
    return {
        part: [np.rint(a.astype(np.float64) * factor).astype(np.uint8) for a in batch]
        for part, batch in layouts.items()
    }


def _nhwc(batch: Any, notes: list[str]) -> Sequence[np.ndarray]:
    """Images (h, w, c), with 1, 3 or 4 channels. NCHW is recognised by the first axis."""
    shapes = {a.shape for a in batch}
    for shape in shapes:
        if len(shape) not in (2, 3) or 0 in shape:
            raise UserError(
                f"an image has the shape {shape}: give (height, width) or (height, width, channels)"
            )
    deep = [shape for shape in shapes if len(shape) == 3]
    last = all(shape[2] in (*GREY_OR_RGB, 4) for shape in deep)
    first = all(shape[0] in GREY_OR_RGB for shape in deep)
    if deep and first and last:
        raise UserError(
            f"images of the shape {deep[0]} can be NHWC or NCHW: give images with more rows"
        )
    if deep and not first and not last:
        raise UserError(
            f"an image has the shape {deep[0]}: give 1, 3 or 4 channels as the last axis, or 1 or "
            "3 as the first"
        )
    if deep and first:
        notes.append("images are NCHW, and were transposed to NHWC")
        if len(deep) < len(shapes):
            raise UserError("some images are NCHW and some have no channels: give one layout")
        return [a.transpose(1, 2, 0) for a in batch]
    return [a[..., None] if a.ndim == 2 else a for a in batch]


def sized(
    batch: Sequence[np.ndarray],
    shapes: set[tuple[int, ...]],
    size: Size | None,
    channels: int | None,
    folder_size: int,
    notes: list[str],
) -> np.ndarray:
    """uint8 (n, height, width, channels)."""
    from PIL import Image

    if size is None and len({shape[:2] for shape in shapes}) > 1:
        size = folder_size
        if not any("different sizes" in text for text in notes):
            notes.append(f"images have different sizes: their centres are scaled to {size}")
    depths = {shape[2] for shape in shapes}
    depth = channels or (next(iter(depths)) if len(depths) == 1 and 4 not in depths else 3)
    height, width = next(iter(shapes))[:2] if size is None else sides(size)
    out = np.empty((len(batch), height, width, depth), np.uint8)
    for i, array in enumerate(batch):
        if array.shape == out.shape[1:]:
            out[i] = array
            continue
        flat = np.ascontiguousarray(array[..., 0] if array.shape[2] == 1 else array)
        view = images.view(
            images.plain(Image.fromarray(flat)), (height, width), None, None, margin=False
        )
        out[i] = images.to_array(view, depth)
    return out
