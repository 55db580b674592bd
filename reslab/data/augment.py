"""Augmentations by name, as recipes write them: "pad-crop(4)", "flip", "scale-crop(256,480)".

Each draws for every image anew, and nothing but from the stream it is given, so that a batch is
a pure function of the pipeline's seed, the epoch and the step. Three stages follow each other,
whatever the order they are written in: "view" takes a square out of the original picture,
"pixels" works on 0..255, "standardised" on what the network is fed (where the papers pad with
zeros). Within a stage the written order holds.

Rotation, shift and erasing are Keras's layers. Keras's RandomCrop and RandAugment are not used:
they draw once for a whole batch, the papers once for each image.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from reslab.core.errors import UserError, unknown
from reslab.core.rng import Stream

if TYPE_CHECKING:
    import keras

Stage = Literal["view", "pixels", "standardised"]


@dataclass(frozen=True)
class Augmentation:
    """`name(*args)`. Batches are float32 (b, h, w, c); a view gets a PIL image instead."""

    name: str
    args: tuple[float, ...] = ()

    @property
    def stage(self) -> Stage:
        return _KNOWN[self.name].stage

    def __call__(self, images: np.ndarray, stream: Stream) -> np.ndarray:
        return _KNOWN[self.name].apply(images, stream, *self.args)

    @property
    def only_moves(self) -> bool:
        """Whether it takes every pixel from somewhere else in the image, or makes it zero."""
        return _KNOWN[self.name].move is not None

    def move(self, moves: Moves, stream: Stream) -> Moves:
        """What calling it does to images that were moved so; see `only_moves`."""
        how = _KNOWN[self.name].move
        assert how is not None
        return how(moves, stream, *self.args)

    def __str__(self) -> str:
        inner = ",".join(f"{a:g}" for a in self.args)
        return f"{self.name}({inner})" if inner else self.name


@dataclass(frozen=True)
class Moves:
    """Where the pixels of a batch come from: (y, x) of image i is its (rows[i, y], columns[i, x]).

    A row or column of -1 is zeros. What moves pixels and changes none can so be drawn here and
    done elsewhere.
    """

    rows: np.ndarray  # int32 (b, h)
    columns: np.ndarray  # int32 (b, w)

    @classmethod
    def none(cls, count: int, height: int, width: int) -> Moves:
        rows, columns = np.arange(height, dtype=np.int32), np.arange(width, dtype=np.int32)
        return cls(np.tile(rows, (count, 1)), np.tile(columns, (count, 1)))


@dataclass(frozen=True)
class _Kind:
    stage: Stage
    apply: Callable[..., np.ndarray]
    usage: str
    low: tuple[float, ...] = ()  # the arguments' bounds, one pair each
    high: tuple[float, ...] = ()
    whole: bool = False  # whether the arguments must be whole numbers
    move: Callable[..., Moves] | None = None  # the same of `Moves`, where that says it all


def parse(text: str | Augmentation) -> Augmentation:
    """An augmentation from its text.

    Raises:
        UserError: an unknown name, or arguments that make no sense.
    """
    if isinstance(text, Augmentation):
        return text
    match = re.fullmatch(r"\s*([a-z][a-z-]*)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None:
        raise UserError(f"augmentation {text!r} is not of the form name or name(number,number)")
    name, inner = match.groups()
    if name not in _KNOWN:
        raise unknown("augmentation", name, _KNOWN)
    kind = _KNOWN[name]
    try:
        args = tuple(float(part) for part in inner.split(",")) if inner else ()
    except ValueError:
        args = (float("nan"),)
    sound = len(args) == len(kind.low) and all(
        low <= a <= high and (a == int(a) or not kind.whole)
        for a, low, high in zip(args, kind.low, kind.high, strict=True)
    )
    if not sound or (name == "scale-crop" and args[0] > args[1]):
        raise UserError(f"augmentation {text!r}: write it as {kind.usage}")
    return Augmentation(name, args)


def flip(images: np.ndarray, stream: Stream) -> np.ndarray:
    """Every second image, on average, mirrored left to right."""
    mirrored = _mirrored(len(images), stream)
    images[mirrored] = images[mirrored, :, ::-1]
    return images


def _flip_moves(moves: Moves, stream: Stream) -> Moves:
    mirrored = _mirrored(len(moves.rows), stream)
    return Moves(moves.rows, np.where(mirrored[:, None], moves.columns[:, ::-1], moves.columns))


def _mirrored(count: int, stream: Stream) -> np.ndarray:
    return stream.raw(count) >> np.uint64(63) == 1


def pad_crop(images: np.ndarray, stream: Stream, pad: float) -> np.ndarray:
    """`pad` zeros on every side, then a crop of the old size at a place of each image's own."""
    _, height, width, _ = images.shape
    out = np.zeros_like(images)
    for i, (y, x) in enumerate(zip(*_corners(len(images), stream, int(pad)), strict=True)):
        part = images[i, max(y, 0) : max(height + y, 0), max(x, 0) : max(width + x, 0)]
        out[i, max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)] = part
    return out


def _pad_crop_moves(moves: Moves, stream: Stream, pad: float) -> Moves:
    def shifted(places: np.ndarray, by: list[int]) -> np.ndarray:
        size = places.shape[1]
        wanted = np.arange(size) + np.array(by)[:, None]
        found = np.take_along_axis(places, np.clip(wanted, 0, size - 1), 1)
        return np.where((wanted >= 0) & (wanted < size), found, np.int32(-1))

    down, across = _corners(len(moves.rows), stream, int(pad))
    return Moves(shifted(moves.rows, down), shifted(moves.columns, across))


def _corners(count: int, stream: Stream, pad: int) -> tuple[list[int], list[int]]:
    """The first row and the first column of each crop, -pad..pad."""
    rows, columns = (stream.integers(count, 2 * pad + 1) - pad for _ in range(2))
    return rows.tolist(), columns.tolist()


def pca_colour(images: np.ndarray, stream: Stream, deviation: float) -> np.ndarray:
    """Each image's colour moved along the principal components of the RGB values.

    Krizhevsky 2012, Sec. 4.1: multiples of the components, the eigenvalue's root times a normal
    number of this deviation (0.1 there). The components are those of the batch's pixels, not of
    the whole training set: a batch of 256 pictures has them to a few per cent.
    """
    channels = images.shape[-1]
    pixels = images.reshape(-1, channels).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False).reshape(channels, channels))
    normal = stream.normal(len(images) * channels).reshape(-1, channels) * deviation
    moves = (normal * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return images + moves[:, None, None, :].astype(np.float32)


def rotate(images: np.ndarray, stream: Stream, degrees: float) -> np.ndarray:
    """Each image turned by up to `degrees` either way; corners are filled with 0."""
    import keras

    return _layer(
        images,
        keras.layers.RandomRotation(
            degrees / 360, fill_mode="constant", fill_value=0.0, seed=stream.seed()
        ),
    )


def shift(images: np.ndarray, stream: Stream, fraction: float) -> np.ndarray:
    """Each image moved by up to `fraction` of its height and width; edges are filled with 0."""
    import keras

    return _layer(
        images,
        keras.layers.RandomTranslation(
            fraction, fraction, fill_mode="constant", fill_value=0.0, seed=stream.seed()
        ),
    )


def erase(images: np.ndarray, stream: Stream, probability: float) -> np.ndarray:
    """With this probability a rectangle of 2 to 33 % of the image becomes 0, which is the mean."""
    import keras

    # A single number would be Keras's upper bound of a probability drawn for each image.
    factor = (probability, probability)
    return _layer(
        images,
        keras.layers.RandomErasing(factor, scale=(0.02, 0.33), fill_value=0.0, seed=stream.seed()),
    )


def _layer(images: np.ndarray, layer: keras.Layer) -> np.ndarray:
    """A Keras layer, made for this batch only so that its draws depend on its seed alone."""
    import keras

    with keras.device("cpu"):
        out = layer(images, training=True)
    # Torch tensors are asked themselves: Keras 3.15 has numpy ask, which warns under numpy 2.
    return out.detach().numpy() if hasattr(out, "detach") else np.array(out, np.float32)


def _rand_augment(
    images: np.ndarray, stream: Stream, operations: float, magnitude: float
) -> np.ndarray:
    from .randaugment import rand_augment

    return rand_augment(images, stream, int(operations), magnitude)


def _view(images: np.ndarray, stream: Stream, *args: float) -> np.ndarray:
    raise AssertionError("views are taken by images.view, before there is a batch")


_INF = float("inf")
_KNOWN: dict[str, _Kind] = {
    "scale-crop": _Kind("view", _view, "scale-crop(256,480)", (1, 1), (8192, 8192), True),
    "area-crop": _Kind("view", _view, "area-crop(0.08)", (0.01,), (1,)),
    "rand-augment": _Kind("pixels", _rand_augment, "rand-augment(2,9)", (1, 0), (16, 10)),
    "pca-colour": _Kind("pixels", pca_colour, "pca-colour(0.1), a deviation", (0,), (10,)),
    "rotate": _Kind("pixels", rotate, "rotate(10), in degrees", (0,), (180,)),
    "shift": _Kind("pixels", shift, "shift(0.1), in parts of the image", (0,), (1,)),
    "pad-crop": _Kind(
        "standardised", pad_crop, "pad-crop(4), in pixels", (0,), (512,), True, _pad_crop_moves
    ),
    "flip": _Kind("standardised", flip, "flip", move=_flip_moves),
    "erase": _Kind("standardised", erase, "erase(0.25), a probability", (0,), (1,)),
}


def names() -> dict[str, str]:
    """Every augmentation and how it is written."""
    return {name: kind.usage for name, kind in _KNOWN.items()}


def by_stage(
    augment: Sequence[str | Augmentation],
) -> dict[Stage, list[tuple[int, Augmentation]]]:
    """Parsed, with their place in the list, which is part of their streams' key."""
    stages: dict[Stage, list[tuple[int, Augmentation]]] = {
        "view": [],
        "pixels": [],
        "standardised": [],
    }
    for place, text in enumerate(augment):
        parsed = parse(text)
        stages[parsed.stage].append((place, parsed))
    if len(stages["view"]) > 1:
        raise UserError(
            f"only one of {', '.join(str(a) for _, a in stages['view'])} can choose the view"
        )
    return stages
