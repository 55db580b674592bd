"""Small data sets on the accelerator, cropped and flipped there by numbers that the host draws.

If a step takes a few milliseconds, it waits for crops and copies on the host. So the images are on
the device as bytes, and a batch is a few kilobytes of positions. The random numbers are those of
the pipeline, and the batches have the same bits: a run can be resumed on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np

from reslab.data import Pipeline

MOST = 2**30  # bytes of images: CIFAR has 0.15 GB, a small device 8 GB


def worth(pipeline: Pipeline) -> bool:
    """Whether there is an accelerator, and the images and their augmentation can be on it."""
    size = len(pipeline.split) * math.prod(pipeline.split.image_shape)
    return pipeline.only_moves and size <= MOST and _accelerator()


def _accelerator() -> bool:
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return bool(jax.default_backend() != "cpu")
    if backend == "torch":
        return bool(keras.ops.zeros(1).device.type != "cpu")
    return False  # on TensorFlow Keras copies every batch through the host


class Resident:
    """The batches of a pipeline, as tensors of the backend (JAX or PyTorch) on its device.

    Args:
        input_shape: The input shape of the model, which may be channels first.
    """

    def __init__(self, pipeline: Pipeline, input_shape: Sequence[int | None]) -> None:
        self.pipeline = pipeline
        normalization = pipeline.normalise
        self._images = _on_device(pipeline.split.images(slice(None)))
        self._normalization = (
            _on_device(normalization.mean),
            _on_device(np.float32(1) / normalization.std),
        )
        channels_first = tuple(input_shape[1:]) != pipeline.split.image_shape
        self._moved = _compiled(partial(_moved, channels_first=channels_first))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Any, np.ndarray]]:
        """float32 images on the device, and int32 labels (b,) on the host: see `Pipeline.epoch`."""
        for positions, moves, labels in self.pipeline.moves(epoch, start):
            places = map(_on_device, (positions.astype(np.int32), moves.rows, moves.columns))
            yield self._moved(self._images, *self._normalization, *places), labels


def _on_device(array: np.ndarray) -> Any:
    return keras.ops.convert_to_tensor(array)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if keras.backend.backend() != "jax":
        return function
    import jax

    return jax.jit(function)


def _moved(
    images: Any,
    mean: Any,
    scale: Any,
    positions: Any,
    rows: Any,
    columns: Any,
    *,
    channels_first: bool,
) -> Any:
    """Apply `Normalization`, then `Moves`, to the images at these positions."""
    x = (keras.ops.cast(images[positions], "float32") - mean) * scale
    places = keras.ops.arange(len(positions))
    x = x[places[:, None, None], rows[:, :, None], columns[:, None, :]]
    inside = (rows >= 0)[:, :, None, None] & (columns >= 0)[:, None, :, None]
    x = keras.ops.where(inside, x, 0.0)
    return keras.ops.transpose(x, (0, 3, 1, 2)) if channels_first else x
