"""Batches for `fit`: where they come from, and without what a backend would add."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import keras
import numpy as np

from reslab.data import Pipeline, to_layout
from reslab.training.on_device import Resident, worth


def source(
    pipeline: Pipeline, input_shape: Sequence[int | None]
) -> Callable[[int, int], Iterator[tuple[Any, np.ndarray]]]:
    """`Pipeline.epoch` in the layout of this input shape; on the accelerator if that is possible.

    The images have the same bits in both cases.
    """
    if worth(pipeline):
        return Resident(pipeline, input_shape).epoch

    def epoch(epoch: int, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for x, labels in pipeline.epoch(epoch, start):
            yield to_layout(x, input_shape), labels

    return epoch


def feed(batches: Iterator[Any]) -> Any:
    """What to pass to `fit`: the batches themselves, or on TensorFlow a `tf.data.Dataset`.

    Keras makes a data set too, but with tf.data's tuner. The tuner looks at the pipeline after
    10 ms, 20 ms, 40 ms and so on. If it sleeps when an epoch ends, `fit` waits until it wakes, in
    the worst case as long as the epoch took. Our batches are prepared elsewhere, so there is
    nothing to tune. All batches have one shape.
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
