"""Hessian times vector, on each engine, with batch norm as at inference.

The Hessian is that of the mean cross-entropy over a subject's images, by its kernels: what the
surface moves, and what Li et al. take the eigenvalues of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from reslab.studies.landscape.directions import kernels
from reslab.studies.landscape.evaluator import BATCH, values, whole_variables
from reslab.studies.trained import LoadedRun

Product = Callable[[Any, Any, Sequence[Any]], list[Any]]  # (x, labels, vectors)


class Hessian:
    """`hessian @ v` for v float64 (n,): kernels one after another, as their variables lie."""

    def __init__(self, subject: LoadedRun, batch: int = BATCH) -> None:
        self.variables = whole_variables(subject, kernels(subject.weights()))
        self.sizes = [int(np.prod(v.shape)) for v in self.variables]
        x, labels = subject.images.x, subject.images.labels
        self.batches = [
            tuple(ops.convert_to_tensor(part[i : i + batch]) for part in (x, labels))
            for i in range(0, len(x), batch)
        ]
        self.n = len(x)
        make = {"torch": _torch, "jax": _jax, "tensorflow": _tensorflow}[keras.backend.backend()]
        self.product: Product = make(subject.model, self.variables)

    @property
    def size(self) -> int:
        return sum(self.sizes)

    def __matmul__(self, vector: np.ndarray) -> np.ndarray:
        cuts = np.cumsum(self.sizes)[:-1]
        parts = np.split(vector.astype("float32"), cuts)
        each = [
            ops.convert_to_tensor(part.reshape(v.shape))
            for part, v in zip(parts, self.variables, strict=True)
        ]
        total = np.zeros(len(vector))
        for x, labels in self.batches:
            made = self.product(x, labels, each)
            flat = [np.asarray(ops.convert_to_numpy(part)).ravel() for part in made]
            total += np.concatenate(flat, dtype="float64")
        return total / self.n


def _entropy(logits: Any, labels: Any) -> Any:
    """Summed over the images."""
    logits = ops.cast(logits, "float32")
    return ops.sum(
        ops.logsumexp(logits, -1)
        - ops.squeeze(ops.take_along_axis(logits, labels[:, None], -1), -1)
    )


def _torch(model: keras.Model, variables: Sequence[Any]) -> Product:
    import torch

    def product(x: Any, labels: Any, vectors: Sequence[Any]) -> list[Any]:
        parameters = [v.value for v in variables]
        before = [p.requires_grad for p in parameters]
        for p in parameters:
            p.requires_grad_(True)
        try:
            with torch.enable_grad():
                loss = torch.nn.functional.cross_entropy(
                    model(x, training=False).float(), labels.long(), reduction="sum"
                )
                slopes = torch.autograd.grad(loss, parameters, create_graph=True)
                along = sum((s * v).sum() for s, v in zip(slopes, vectors, strict=True))
            return [h.detach() for h in torch.autograd.grad(along, parameters)]
        finally:
            for p, was in zip(parameters, before, strict=True):
                p.requires_grad_(was)

    return product


def _jax(model: keras.Model, variables: Sequence[Any]) -> Product:
    import jax

    places = {id(v): i for i, v in enumerate(model.trainable_variables)}
    moved = [places[id(v)] for v in variables]

    def loss(own: Any, trained: Any, states: Any, x: Any, labels: Any) -> Any:
        trained = list(trained)
        for place, value in zip(moved, own, strict=True):
            trained[place] = value
        return _entropy(model.stateless_call(trained, states, x, training=False)[0], labels)

    @jax.jit
    def run(trained: Any, states: Any, x: Any, labels: Any, vectors: Any) -> Any:
        own = [trained[place] for place in moved]
        slope = jax.grad(loss)
        return jax.jvp(lambda w: slope(w, trained, states, x, labels), (own,), (vectors,))[1]

    return lambda x, labels, vectors: run(*values(model), x, labels, list(vectors))


def _tensorflow(model: keras.Model, variables: Sequence[Any]) -> Product:
    import tensorflow as tf

    own = [v.value for v in variables]

    def product(x: Any, labels: Any, vectors: Any) -> Any:
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = _entropy(model(x, training=False), labels)
            slopes = inner.gradient(loss, own)
            along = tf.add_n([tf.reduce_sum(s * v) for s, v in zip(slopes, vectors, strict=True)])
        return outer.gradient(along, own, unconnected_gradients="zero")

    run = tf.function(product)
    return lambda x, labels, vectors: run(x, labels, list(vectors))
