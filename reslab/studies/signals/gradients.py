"""Both ways through a net, layer by layer: what its layers put out, and the loss's gradients.

One mechanism on every backend: each measured layer adds a probe, zeros of its output's shape, to
what it makes. The gradient with respect to the probe is the one with respect to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

Tensor = Any


@dataclass(frozen=True, eq=False)
class Passed:
    """One batch, there and back. Lists are by layer, in the order asked for.

    `outputs` and `output_gradients` are (n, ...) as the layers have it; `kernel_gradients` and
    `kernels` are HWIO, or (in, out).
    """

    loss: float  # mean cross-entropy in nats
    logits: np.ndarray
    outputs: list[np.ndarray]
    output_gradients: list[np.ndarray]
    kernels: list[np.ndarray]
    kernel_gradients: list[np.ndarray]


def passed(
    model: keras.Model,
    names: Sequence[str],
    x: np.ndarray,
    labels: np.ndarray,
    training: bool = True,
) -> Passed:
    """Send a batch through a model of logits, and the mean cross-entropy's gradient back.

    `names` are layers with a `kernel`. In `training` batch norm takes the batch's statistics, and
    dropout drops. The model is left as it was, its running statistics too.
    """
    layers = [model.get_layer(name) for name in names]
    places = _positions(model, layers)
    before = [v.value for v in model.non_trainable_variables]
    probes = [np.zeros((len(x), *layer.output.shape[1:]), "float32") for layer in layers]

    def loss(trainable: list[Tensor], probes: list[Tensor]) -> tuple[Tensor, Any]:
        with _probed(model, layers, probes) as seen:
            z, _ = model.stateless_call(trainable, before, x, training=training)
        entropy = ops.sparse_categorical_crossentropy(labels, z, from_logits=True)
        return ops.mean(entropy), (z, [seen[name] for name in names])

    values = [v.value for v in model.trainable_variables]
    made, (z, outputs), slopes, probe_slopes = _differentiated(loss, values, probes)
    return Passed(
        float(ops.convert_to_numpy(made)),
        _numpy(z),
        [_numpy(y) for y in outputs],
        [_numpy(g) for g in probe_slopes],
        [_numpy(layer.kernel) for layer in layers],
        [_numpy(slopes[i]) for i in places],
    )


def _positions(model: keras.Model, layers: Sequence[Any]) -> list[int]:
    """Where the kernels are among the trainable variables."""
    order = {id(v): i for i, v in enumerate(model.trainable_variables)}
    return [order[id(layer.kernel)] for layer in layers]


@contextmanager
def _probed(
    model: keras.Model, layers: Sequence[Any], probes: Sequence[Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Each layer adds its probe and leaves its output in the dictionary that is yielded.

    For the while every layer has Keras's own call: an accelerated model asks no layer for its.
    """
    fast = [(part, vars(part).pop("call", None)) for part in model._flatten_layers()]
    seen: dict[str, Tensor] = {}

    def call_of(layer: Any, probe: Tensor) -> Callable[..., Tensor]:
        own = layer.call

        def call(*args: Any, **kwargs: Any) -> Tensor:
            seen[layer.name] = made = own(*args, **kwargs) + probe
            return made

        return call

    try:
        for layer, probe in zip(layers, probes, strict=True):
            layer.call = call_of(layer, probe)
        yield seen
    finally:
        for layer in layers:
            vars(layer).pop("call", None)
        for part, call in fast:
            if call is not None:
                part.call = call


def _differentiated(
    loss: Callable[..., tuple[Tensor, Any]], values: list[Tensor], probes: list[np.ndarray]
) -> tuple[Tensor, Any, list[Tensor], list[Tensor]]:
    """The loss, what else it returns, and its gradients by both of its arguments."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        inputs = [v.detach().requires_grad_() for v in values]
        zeros = [ops.convert_to_tensor(p).requires_grad_() for p in probes]
        with torch.enable_grad():
            made, rest = loss(inputs, zeros)
        slopes = torch.autograd.grad(made, [*inputs, *zeros], allow_unused=True)
    elif backend == "jax":
        import jax

        both = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        (made, rest), (first, second) = both(values, [ops.convert_to_tensor(p) for p in probes])
        slopes = (*first, *second)
    else:
        import tensorflow as tf

        inputs = [tf.convert_to_tensor(v) for v in values]
        zeros = [tf.convert_to_tensor(p) for p in probes]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*inputs, *zeros])
            made, rest = loss(inputs, zeros)
        slopes = tape.gradient(made, [*inputs, *zeros])
    return made, rest, list(slopes[: len(values)]), list(slopes[len(values) :])


def _numpy(x: Tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(x))
