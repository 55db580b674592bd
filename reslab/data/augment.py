"""Augmentations by name, as recipes write them: "pad-crop(4)", "flip", "scale-crop(256,480)".

Random numbers are drawn for each image, and only from the stream that is passed, so that a batch
is a pure function of the pipeline's seed, the epoch and the step. There are three stages, in this
order: "view" takes a square out of the original picture, "pixels" works on values of 0 to 255,
"normalised" on the input of the network (there, the papers pad with zeros). Within a stage the
augmentations are applied in the order in which they are written.

Rotation, shift and erasing are Keras's layers. Keras's RandomCrop and RandAugment are not used,
because they draw once for a batch; the papers draw once for each image.
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

Stage = Literal["view", "pixels", "normalised"]


@dataclass(frozen=True)
class Augmentation:
    """`name(*args)`. It takes batches, float32 (b, h, w, c); a view takes a PIL image instead."""

    name: str
    args: tuple[float, ...] = ()

    @property
    def stage(self) -> Stage:
        return _KINDS[self.name].stage

    def __call__(self, images: np.ndarray, stream: Stream) -> np.ndarray:
        return _KINDS[self.name].apply(images, stream, *self.args)

    @property
    def only_moves(self) -> bool:
        """Whether each pixel of the result is a pixel of the image, or zero."""
        return _KINDS[self.name].move is not None

    def move(self, moves: Moves, stream: Stream) -> Moves:
        """Add what the augmentation does to `moves`. Requires `only_moves`."""
        move = _KINDS[self.name].move
        assert move is not None
        return move(moves, stream, *self.args)

    def __str__(self) -> str:
        inner = ",".join(f"{a:g}" for a in self.args)
        return f"{self.name}({inner})" if inner else self.name


@dataclass(frozen=True)
class Moves:
    """Where the pixels of a batch come from: (y, x) of image i is its (rows[i, y], columns[i, x]).

    -1 stands for a row or column of zeros. With it the random numbers are drawn on the host, and
    the pixels are moved on the device.
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
    low: tuple[float, ...] = ()  # bounds of each argument
    high: tuple[float, ...] = ()
    whole: bool = False  # whether the arguments must be whole numbers
    move: Callable[..., Moves] | None = None  # the same for `Moves`, if it only moves pixels


def parse(text: str | Augmentation) -> Augmentation:
    """Parse an augmentation such as "pad-crop(4)".

    Raises:
        UserError: the name is unknown, or the arguments are out of range.
    """
    if isinstance(text, Augmentation):
        return text
    match = re.fullmatch(r"\s*([a-z][a-z-]*)\s*(?:\(([^()]*)\))?\s*", text)
    if match is None:
        raise UserError(f"augmentation {text!r} is not of the form name or name(number,number)")
    name, inner = match.groups()
    if name not in _KINDS:
        raise unknown("augmentation", name, _KINDS)
    kind = _KINDS[name]
    try:
        args = tuple(float(part) for part in inner.split(",")) if inner else ()
    except ValueError:
        args = (float("nan"),)
    valid = len(args) == len(kind.low) and all(
        low <= a <= high and (a == int(a) or not kind.whole)
        for a, low, high in zip(args, kind.low, kind.high, strict=True)
    )
    if not valid or (name == "scale-crop" and args[0] > args[1]):
        raise UserError(f"augmentation {text!r}: write it as {kind.usage}")
    return Augmentation(name, args)


def flip(images: np.ndarray, stream: Stream) -> np.ndarray:
    """Mirror images left to right, each with probability 1/2."""
    mirrored = _mirrored(len(images), stream)
    images[mirrored] = images[mirrored, :, ::-1]
    return images


def _flip_moves(moves: Moves, stream: Stream) -> Moves:
    mirrored = _mirrored(len(moves.rows), stream)
    return Moves(moves.rows, np.where(mirrored[:, None], moves.columns[:, ::-1], moves.columns))


def _mirrored(count: int, stream: Stream) -> np.ndarray:
    return stream.raw(count) >> np.uint64(63) == 1


def pad_crop(images: np.ndarray, stream: Stream, pad: float) -> np.ndarray:
    """Add `pad` zeros on each side, then crop each image to its size at a random position."""
    _, height, width, _ = images.shape
    out = np.zeros_like(images)
    for i, (y, x) in enumerate(zip(*_corners(len(images), stream, int(pad)), strict=True)):
        part = images[i, max(y, 0) : max(height + y, 0), max(x, 0) : max(width + x, 0)]
        out[i, max(-y, 0) : max(height - y, 0), max(-x, 0) : max(width - x, 0)] = part
    return out


def _pad_crop_moves(moves: Moves, stream: Stream, pad: float) -> Moves:
    def shifted(positions: np.ndarray, by: list[int]) -> np.ndarray:
        size = positions.shape[1]
        source = np.arange(size) + np.array(by)[:, None]
        inside = np.take_along_axis(positions, np.clip(source, 0, size - 1), 1)
        return np.where((source >= 0) & (source < size), inside, np.int32(-1))

    down, across = _corners(len(moves.rows), stream, int(pad))
    return Moves(shifted(moves.rows, down), shifted(moves.columns, across))


def _corners(count: int, stream: Stream, pad: int) -> tuple[list[int], list[int]]:
    """The first row and the first column of each crop, -pad..pad."""
    rows, columns = (stream.integers(count, 2 * pad + 1) - pad for _ in range(2))
    return rows.tolist(), columns.tolist()


def pca_colour(images: np.ndarray, stream: Stream, deviation: float) -> np.ndarray:
    """Shift the colour of each image along the principal components of the RGB values.

    Krizhevsky 2012, Sec. 4.1: each component is multiplied by the square root of its eigenvalue
    and by a normal random number with this std (0.1 in the paper). The components are computed
    from the batch, not from the whole training set: with 256 images they differ by a few per cent.
    """
    channels = images.shape[-1]
    pixels = images.reshape(-1, channels).astype(np.float64)
    values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False).reshape(channels, channels))
    normal = stream.normal(len(images) * channels).reshape(-1, channels) * deviation
    moves = (normal * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return images + moves[:, None, None, :].astype(np.float32)


def rotate(images: np.ndarray, stream: Stream, degrees: float) -> np.ndarray:
    """Rotate each image by up to `degrees` in either direction. Corners are filled with 0."""
    import keras

    return _layer(
        images,
        keras.layers.RandomRotation(
            degrees / 360, fill_mode="constant", fill_value=0.0, seed=stream.seed()
        ),
    )


def shift(images: np.ndarray, stream: Stream, fraction: float) -> np.ndarray:
    """Shift each image by up to `fraction` of its height and width. Edges are filled with 0."""
    import keras

    return _layer(
        images,
        keras.layers.RandomTranslation(
            fraction, fraction, fill_mode="constant", fill_value=0.0, seed=stream.seed()
        ),
    )


def erase(images: np.ndarray, stream: Stream, probability: float) -> np.ndarray:
    """With this probability set a rectangle of 2 to 33 % of the image to 0, which is the mean."""
    import keras

    # Keras takes a single number as the upper bound of a probability that it draws per image.
    factor = (probability, probability)
    return _layer(
        images,
        keras.layers.RandomErasing(factor, scale=(0.02, 0.33), fill_value=0.0, seed=stream.seed()),
    )


def _layer(images: np.ndarray, layer: keras.Layer) -> np.ndarray:
    """Apply a layer that was made for this batch. So the result depends only on its seed."""
    import keras

    with keras.device("cpu"):
        out = layer(images, training=True)
    # np.array of a Keras 3.15 torch tensor warns with NumPy 2.
    return out.detach().numpy() if hasattr(out, "detach") else np.array(out, np.float32)


def _rand_augment(
    images: np.ndarray, stream: Stream, operations: float, magnitude: float
) -> np.ndarray:
    from .randaugment import rand_augment

    return rand_augment(images, stream, int(operations), magnitude)


def _view(images: np.ndarray, stream: Stream, *args: float) -> np.ndarray:
    raise AssertionError("images.view takes views, before there is a batch")


_INF = float("inf")
_KINDS: dict[str, _Kind] = {
    "scale-crop": _Kind("view", _view, "scale-crop(256,480)", (1, 1), (8192, 8192), True),
    "area-crop": _Kind("view", _view, "area-crop(0.08)", (0.01,), (1,)),
    "rand-augment": _Kind("pixels", _rand_augment, "rand-augment(2,9)", (1, 0), (16, 10)),
    "pca-colour": _Kind("pixels", pca_colour, "pca-colour(0.1), a standard deviation", (0,), (10,)),
    "rotate": _Kind("pixels", rotate, "rotate(10), in degrees", (0,), (180,)),
    "shift": _Kind("pixels", shift, "shift(0.1), a fraction of the image", (0,), (1,)),
    "pad-crop": _Kind(
        "normalised", pad_crop, "pad-crop(4), in pixels", (0,), (512,), True, _pad_crop_moves
    ),
    "flip": _Kind("normalised", flip, "flip", move=_flip_moves),
    "erase": _Kind("normalised", erase, "erase(0.25), a probability", (0,), (1,)),
}


def names() -> dict[str, str]:
    """All augmentations, with examples of how to write them."""
    return {name: kind.usage for name, kind in _KINDS.items()}


def by_stage(
    augment: Sequence[str | Augmentation],
) -> dict[Stage, list[tuple[int, Augmentation]]]:
    """Parse the augmentations. The position of each is part of the key of its stream."""
    stages: dict[Stage, list[tuple[int, Augmentation]]] = {
        "view": [],
        "pixels": [],
        "normalised": [],
    }
    for position, text in enumerate(augment):
        parsed = parse(text)
        stages[parsed.stage].append((position, parsed))
    if len(stages["view"]) > 1:
        raise UserError(
            f"{' and '.join(str(a) for _, a in stages['view'])} both choose the view: keep one"
        )
    return stages
