"""Batches as `fit` takes them: where they come from, and nothing that a backend adds on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import keras
import numpy as np

from reslab.data import Pipeline, laid_out
from reslab.training.on_device import Resident, worth


def source(
    pipeline: Pipeline, input_shape: Sequence[int | None]
) -> Callable[[int, int], Iterator[tuple[Any, np.ndarray]]]:
    """`Pipeline.epoch` in the layout of a model of this input shape, from the device where it can.

    The images are the same bits wherever they are made.
    """
    if worth(pipeline):
        return Resident(pipeline, input_shape).epoch

    def epoch(epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for x, labels in pipeline.epoch(epoch, start):
            yield laid_out(x, input_shape), labels

    return epoch


def feed(batches: Iterator[Any]) -> Any:
    """What to give to `fit` for batches of one shape: themselves, and on TensorFlow a data set.

    Keras makes one too, but with tf.data's tuner running. That looks at the pipeline after 10 ms,
    20 ms, 40 ms and so on, and where it is just asleep when an epoch ends, `fit` waits until it
    wakes: at worst as long again as the epoch took. Our batches are prepared elsewhere, so there is
    nothing to tune.
    """
    if keras.backend.backend() != "tensorflow":
        return batches
    import tensorflow as tf

    first = next(batches)
    signature = tf.nest.map_structure(lambda a: tf.TensorSpec((None, *a.shape[1:]), a.dtype), first)
    dataset = tf.data.Dataset.from_generator(
        lambda: chain([first], batches), output_signature=signature
    )
    return untuned(dataset)


def untuned(dataset: Any) -> Any:
    """A `tf.data.Dataset` without the tuner; see `feed`."""
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
