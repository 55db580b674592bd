"""What `predict` takes as images: paths, folders, addresses, bytes, pictures, arrays, data sets."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from reslab.core.errors import UserError, written
from reslab.data import discovery, python, python_pixels
from reslab.data import images as pictures
from reslab.data.discovery import Kinds
from reslab.data.formats import BadImage
from reslab.data.sources import web
from reslab.models.preprocess import picture

MOST_BYTES = 64 * 2**20  # of a picture behind an address
ENCODED = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Input:
    """One image: a file, or the bytes of one. `name` is its path, its address or its number."""

    name: str
    content: Path | bytes

    def open(self) -> Path | io.BytesIO:
        """What readers of pictures take."""
        return io.BytesIO(self.content) if isinstance(self.content, bytes) else self.content

    def check(self) -> None:
        """Raise UserError if the image cannot be read."""
        try:
            pictures.check(self.open())
        except BadImage as bad:
            raise UserError(f"{self.name} cannot be read: {bad}") from None


def inputs(images: Any, passed: Kinds | None = None) -> list[Input]:
    """The images that a user gives to `predict`. Counts in `passed` what folders have besides.

    Raises:
        UserError: A path does not exist, a folder has no images, an address cannot be read, or
            something is not an image.
    """
    listed = list(_inputs(images, "image 0", discovery.Kinds() if passed is None else passed))
    if not listed:
        raise UserError("no images were given")
    return listed


def files(names: Iterable[str | os.PathLike[str]], passed: Kinds) -> list[Path]:
    """The images at these paths; a folder stands for all images in it and in its subfolders.

    Counts in `passed` what is passed over in folders.

    Raises UserError for a path that does not exist, and for a folder without images.
    """
    paths: list[Path] = []
    for name in names:
        if not os.fspath(name):
            raise UserError("the name of an image is empty")
        path = Path(written(os.fspath(name)))
        if path.is_dir():
            others: Kinds = discovery.Kinds()
            inside = discovery.pictures(path, others)
            if not inside:
                rest = f" ({text})" if (text := discovery.sentence(others)) else ""
                raise UserError(f"there are no images in {path}{rest}")
            paths += inside
            passed.update(others)
        elif path.exists():
            paths.append(path)
        else:
            raise UserError(f"there is no image {path}")
    if not paths:
        raise UserError("no images were given")
    return paths


def _inputs(images: Any, name: str, passed: Kinds) -> Iterator[Input]:
    from PIL import Image

    images = _without_labels(images)
    if isinstance(images, str) and urlsplit(images).scheme in ("http", "https"):
        yield Input(images, web.read(images, MOST_BYTES))
    elif isinstance(images, str | os.PathLike):
        yield from (Input(str(path), path) for path in files([images], passed))
    elif isinstance(images, ENCODED):
        yield Input(name, bytes(images))
    elif hasattr(images, "read"):
        yield Input(str(getattr(images, "name", None) or name), _read(images, name))
    elif isinstance(images, Image.Image):
        yield Input(name, _png(images, name))
    elif images is None or isinstance(images, Mapping) or np.isscalar(images):
        raise UserError(
            f"{name} is {'None' if images is None else f'a {type(images).__name__}'}; give a path, "
            "bytes, a Pillow image or an array"
        )
    elif python_pixels.is_array(images):
        arrays = python.pixels(images)
        for i, array in enumerate(arrays):
            yield Input(f"image {i}" if len(arrays) > 1 else name, _png(array, name))
    elif python.is_dataset(images) or isinstance(images, Iterable):
        for i, image in enumerate(python.items(images)):
            yield from _inputs(image, f"image {i}", passed)
    else:
        raise UserError(
            f"{name} is a {type(images).__name__}; give a path, bytes, a Pillow image or an array"
        )


def _without_labels(images: Any) -> Any:
    """The images of a pair (images, labels), as training and evaluation take it."""
    if not isinstance(images, tuple) or len(images) != 2:
        return images
    first, labels = images
    several = isinstance(first, list) or (python_pixels.is_array(first) and np.ndim(first) == 4)
    if not several or (not isinstance(labels, list) and not python_pixels.is_array(labels)):
        return images
    are_labels = all(np.ndim(label) <= 1 and not isinstance(label, bytes) for label in labels)
    return first if len(first) == len(labels) and are_labels else images


def _read(file: Any, name: str) -> bytes:
    content = file.read()
    if not isinstance(content, bytes):
        raise UserError(f"{name} is a text file: open it in binary mode, such as open(path, 'rb')")
    return content


def _png(image: Any, name: str) -> bytes:
    out = io.BytesIO()
    picture(image, name).save(out, "PNG", compress_level=1)
    return out.getvalue()
