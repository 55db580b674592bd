"""The loss of a network at many weights, one after another, at the speed of plain inference.

All that a point needs lies on the engine beforehand: images in batches, the weights in the middle,
the directions. A point is then a sum a kernel, in place, and a pass over the images. Several points
in one call make each convolution one of many groups, which on a CPU is slower on PyTorch and much
slower on JAX: `bench/landscape.py` measures it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from reslab.data import ArraySplit
from reslab.evaluation.scoring import cross_entropy
from reslab.models.scopes import without_gradients
from reslab.studies.landscape.directions import Weights
from reslab.studies.landscape.settings import KEEP, RECOMPUTE
from reslab.studies.trained import Images, LoadedRun
from reslab.training import batchnorm

BATCH = 250


@dataclass(frozen=True)
class Point:
    """Mean cross-entropy in nats, infinite where it is no number, and the share of wrong images."""

    loss: float
    error: float


class Evaluator:
    """Points around a subject's weights, which `restore` brings back.

    With `bn` "recompute" batch norm's statistics are measured anew at each point, over all the
    images (`reslab.recalibrate`); with "keep" they stay those of the run.
    """

    def __init__(self, subject: LoadedRun, bn: str = KEEP, batch: int = BATCH) -> None:
        self.subject, self.bn, self.batch = subject, bn, batch
        self.start = _own(subject)
        x = subject.images.x
        self.batches = [ops.convert_to_tensor(x[i : i + batch]) for i in range(0, len(x), batch)]
        self.forward = forward(subject.model)
        self.moved: list[tuple[Any, Any, list[Any]]] = []  # variable, start, directions

    def along(self, *directions: Weights) -> None:
        """Take these directions, each with a subset of the weights' names, all with the same."""
        variables = whole_variables(self.subject, directions[0])
        parts = []
        for weights in (self.start, *directions):
            self.subject.assign({name: weights[name] for name in directions[0]})
            with without_gradients():
                parts.append([ops.copy(v.value) for v in variables])
        self.moved = [
            (v, start, list(along)) for v, start, *along in zip(variables, *parts, strict=True)
        ]
        self.restore()

    def move(self, *steps: float) -> None:
        """So many steps along each direction from the start."""
        with without_gradients():
            for v, start, directions in self.moved:
                value = start
                for step, direction in zip(steps, directions, strict=True):
                    value = value + step * direction
                v.assign(value)
        if self.bn == RECOMPUTE:
            recompute(self.subject, self.batch)

    def at(self, *steps: float) -> Point:
        self.move(*steps)
        return self.here()

    def here(self) -> Point:
        """With the weights and statistics that the network has now."""
        with without_gradients():
            outputs = [self.forward(x) for x in self.batches]
            z = np.concatenate([np.asarray(ops.convert_to_numpy(o), "float32") for o in outputs])
        return point(z, self.subject.images.labels)

    def from_here(self) -> Evaluator:
        """Another that starts at the weights that the network has now."""
        other = copy.copy(self)
        other.start, other.moved = _own(self.subject), []
        return other

    def restore(self) -> None:
        self.subject.assign(self.start)


def _own(subject: LoadedRun) -> dict[str, np.ndarray]:
    """The weights, in memory that no engine writes to."""
    return {name: array.copy() for name, array in subject.weights().items()}


def whole_variables(subject: LoadedRun, names: Iterable[str]) -> list[Any]:
    """The Keras variables that hold these weights; stacked units share one."""
    own = subject.variables()
    each = [own[name] for name in names]
    return list({id(v): v for v in (getattr(v, "whole", v) for v in each)}.values())


def point(z: np.ndarray, labels: np.ndarray) -> Point:
    """From logits (n, classes). What has no finite logits is wrong."""
    sound = np.isfinite(z).all(-1)
    loss = cross_entropy(z, labels) if sound.all() else math.inf
    with np.errstate(invalid="ignore"):
        wrong = (z.argmax(-1) != labels) | ~sound
    return Point(loss, float(wrong.mean()))


def recompute(subject: LoadedRun, batch: int = BATCH) -> None:
    """Batch norm's running statistics over the subject's images."""
    with np.errstate(all="ignore"):  # far out, squares are beyond float32
        batchnorm.recalibrate(subject.model, as_split(subject.images), batch=batch)


def as_split(images: Images) -> ArraySplit:
    """The standardised images as they are."""
    return ArraySplit.of(images.x, images.labels)


# The engines -------------------------------------------------------------------------------------


def forward(model: keras.Model) -> Callable[[Any], Any]:
    """Logits of a batch, with the variables of the moment, compiled where the engine compiles."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        run = jax.jit(lambda w, s, x: model.stateless_call(w, s, x, training=False)[0])
        return lambda x: run(*values(model), x)
    call = lambda x: model(x, training=False)  # noqa: E731
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(call)
    return call


def values(model: keras.Model) -> tuple[list[Any], list[Any]]:
    trained = [v.value for v in model.trainable_variables]
    return trained, [v.value for v in model.non_trainable_variables]
