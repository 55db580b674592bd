"""The loss of a network at many weights, one after another, at the speed of plain inference.

The image batches, the weights at the centre and the directions are on the device beforehand. A
point is then one sum per kernel, in place, and one pass over the images. Evaluating several points
in one call would need grouped convolutions, which are slower on a CPU with PyTorch, and much slower
with JAX (`bench/landscape.py` measures this).
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
    """Mean cross-entropy in nats, infinite if not finite, and the fraction of wrong images."""

    loss: float
    error: float


class Evaluator:
    """Evaluates points around a subject's weights; `restore` brings the weights back.

    With `bn` "recompute", batch norm's running statistics are recomputed at each point over all
    images (`reslab.recalibrate`). With "keep" they stay those of the run.
    """

    def __init__(self, subject: LoadedRun, bn: str = KEEP, batch: int = BATCH) -> None:
        self.subject, self.bn, self.batch = subject, bn, batch
        self.start = _copies(subject)
        x = subject.images.x
        self.batches = [ops.convert_to_tensor(x[i : i + batch]) for i in range(0, len(x), batch)]
        self.forward = forward(subject.model)
        self.moved: list[tuple[Any, Any, list[Any]]] = []  # variable, start, directions

    def along(self, *directions: Weights) -> None:
        """Set the directions; each has arrays for the same subset of the weights."""
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
        """Set the weights to the start plus `steps[k]` times direction k."""
        with without_gradients():
            for v, start, directions in self.moved:
                value = start
                for step, direction in zip(steps, directions, strict=True):
                    value = value + step * direction
                v.assign(value)
        if self.bn == RECOMPUTE:
            recompute(self.subject, self.batch)

    def at(self, *steps: float) -> Point:
        """`move`, then `here`."""
        self.move(*steps)
        return self.here()

    def here(self) -> Point:
        """Evaluate the current weights and statistics."""
        with without_gradients():
            outputs = [self.forward(x) for x in self.batches]
            z = np.concatenate([np.asarray(ops.convert_to_numpy(o), "float32") for o in outputs])
        return point(z, self.subject.images.labels)

    def from_here(self) -> Evaluator:
        """A copy that starts at the current weights."""
        other = copy.copy(self)
        other.start, other.moved = _copies(self.subject), []
        return other

    def restore(self) -> None:
        self.subject.assign(self.start)


def _copies(subject: LoadedRun) -> dict[str, np.ndarray]:
    """The weights, in memory that no backend writes to."""
    return {name: array.copy() for name, array in subject.weights().items()}


def whole_variables(subject: LoadedRun, names: Iterable[str]) -> list[Any]:
    """The Keras variables of these weights. Stacked units share one variable."""
    variables = subject.variables()
    parts = [variables[name] for name in names]
    return list({id(v): v for v in (getattr(v, "whole", v) for v in parts)}.values())


def point(z: np.ndarray, labels: np.ndarray) -> Point:
    """From logits (n, classes). An image without finite logits counts as wrong."""
    finite = np.isfinite(z).all(-1)
    loss = cross_entropy(z, labels) if finite.all() else math.inf
    with np.errstate(invalid="ignore"):
        wrong = (z.argmax(-1) != labels) | ~finite
    return Point(loss, float(wrong.mean()))


def recompute(subject: LoadedRun, batch: int = BATCH) -> None:
    """Recompute batch norm's running statistics on the subject's images."""
    with np.errstate(all="ignore"):  # far from the centre, squares overflow float32
        batchnorm.recalibrate(subject.model, as_split(subject.images), batch=batch)


def as_split(images: Images) -> ArraySplit:
    """The normalised images as a split."""
    return ArraySplit.of(images.x, images.labels)


# The backends ------------------------------------------------------------------------------------


def forward(model: keras.Model) -> Callable[[Any], Any]:
    """A function from a batch to logits, with the current weights."""
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
    """The values of the trainable and of the other variables."""
    trained = [v.value for v in model.trainable_variables]
    return trained, [v.value for v in model.non_trainable_variables]
