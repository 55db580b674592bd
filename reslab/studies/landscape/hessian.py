"""Hessian-vector products on each backend, with batch norm in inference mode.

The Hessian is that of the mean cross-entropy over a subject's images with respect to its kernels,
the variables that the directions change, as in Li et al. 2018.
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
    """`hessian @ v` for v (n,) float64, the concatenated kernels in the order of `variables`."""

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
            products = self.product(x, labels, each)
            flat = [np.asarray(ops.convert_to_numpy(part)).ravel() for part in products]
            total += np.concatenate(flat, dtype="float64")
        return total / self.n


def _entropy(logits: Any, labels: Any) -> Any:
    """The cross-entropy, summed over the images."""
    logits = ops.cast(logits, "float32")
    return ops.sum(
        ops.logsumexp(logits, -1)
        - ops.squeeze(ops.take_along_axis(logits, labels[:, None], -1), -1)
    )


def _torch(model: keras.Model, variables: Sequence[Any]) -> Product:
    import torch

    def product(x: Any, labels: Any, vectors: Sequence[Any]) -> list[Any]:
        parameters = [v.value for v in variables]
        flags = [p.requires_grad for p in parameters]
        for p in parameters:
            p.requires_grad_(True)
        try:
            with torch.enable_grad():
                loss = torch.nn.functional.cross_entropy(
                    model(x, training=False).float(), labels.long(), reduction="sum"
                )
                gradients = torch.autograd.grad(loss, parameters, create_graph=True)
                along = sum((g * v).sum() for g, v in zip(gradients, vectors, strict=True))
            return [h.detach() for h in torch.autograd.grad(along, parameters)]
        finally:
            for p, flag in zip(parameters, flags, strict=True):
                p.requires_grad_(flag)

    return product


def _jax(model: keras.Model, variables: Sequence[Any]) -> Product:
    import jax

    indices = {id(v): i for i, v in enumerate(model.trainable_variables)}
    kernel_indices = [indices[id(v)] for v in variables]

    def loss(kernel_values: Any, trained: Any, states: Any, x: Any, labels: Any) -> Any:
        trained = list(trained)
        for index, value in zip(kernel_indices, kernel_values, strict=True):
            trained[index] = value
        return _entropy(model.stateless_call(trained, states, x, training=False)[0], labels)

    @jax.jit
    def run(trained: Any, states: Any, x: Any, labels: Any, vectors: Any) -> Any:
        kernel_values = [trained[index] for index in kernel_indices]
        gradient = jax.grad(loss)
        at = lambda w: gradient(w, trained, states, x, labels)  # noqa: E731
        return jax.jvp(at, (kernel_values,), (vectors,))[1]

    return lambda x, labels, vectors: run(*values(model), x, labels, list(vectors))


def _tensorflow(model: keras.Model, variables: Sequence[Any]) -> Product:
    import tensorflow as tf

    kernel_values = [v.value for v in variables]

    def product(x: Any, labels: Any, vectors: Any) -> Any:
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = _entropy(model(x, training=False), labels)
            gradients = inner.gradient(loss, kernel_values)
            along = tf.add_n(
                [tf.reduce_sum(g * v) for g, v in zip(gradients, vectors, strict=True)]
            )
        return outer.gradient(along, kernel_values, unconnected_gradients="zero")

    run = tf.function(product)
    return lambda x, labels, vectors: run(x, labels, list(vectors))
