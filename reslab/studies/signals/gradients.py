"""The outputs of layers, and the gradients of the loss with respect to them, for one batch.

One mechanism on every backend: each measured layer adds a probe, zeros of the shape of its output,
to its output. The gradient with respect to the probe is the gradient with respect to the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from reslab.acceleration.keras_internals import flatten_layers

Tensor = Any


@dataclass(frozen=True, eq=False)
class LayerSignals:
    """One forward and backward pass. The lists have one array per layer, in the given order.

    `outputs` and `output_gradients` are (n, ...) in the layout of the layers. `kernels` and
    `kernel_gradients` are HWIO for convolutions and (in, out) for dense layers.
    """

    loss: float  # mean cross-entropy in nats
    logits: np.ndarray
    outputs: list[np.ndarray]
    output_gradients: list[np.ndarray]
    kernels: list[np.ndarray]
    kernel_gradients: list[np.ndarray]


def forward_backward(
    model: keras.Model,
    names: Sequence[str],
    x: np.ndarray,
    labels: np.ndarray,
    training: bool = True,
) -> LayerSignals:
    """Run one forward and one backward pass of the mean cross-entropy.

    The model does not change, and neither do its running mean and variance.

    Args:
        model: Maps images to logits.
        names: Layers to measure; each has a `kernel`.
        x: Images (n, ...).
        labels: Class indices (n,).
        training: Batch norm uses the statistics of the batch, and dropout is active.
    """
    layers = [model.get_layer(name) for name in names]
    positions = _positions(model, layers)
    non_trainable = [v.value for v in model.non_trainable_variables]
    probes = [np.zeros((len(x), *layer.output.shape[1:]), "float32") for layer in layers]

    def loss_of(trainable: list[Tensor], probes: list[Tensor]) -> tuple[Tensor, Any]:
        with _probed(model, layers, probes) as outputs:
            z, _ = model.stateless_call(trainable, non_trainable, x, training=training)
        entropy = ops.sparse_categorical_crossentropy(labels, z, from_logits=True)
        return ops.mean(entropy), (z, [outputs[name] for name in names])

    values = [v.value for v in model.trainable_variables]
    loss, (z, outputs), gradients, probe_gradients = _differentiate(loss_of, values, probes)
    return LayerSignals(
        float(ops.convert_to_numpy(loss)),
        _numpy(z),
        [_numpy(y) for y in outputs],
        [_numpy(g) for g in probe_gradients],
        [_numpy(layer.kernel) for layer in layers],
        [_numpy(gradients[i]) for i in positions],
    )


def _positions(model: keras.Model, layers: Sequence[Any]) -> list[int]:
    """The positions of the layers' kernels among the trainable variables."""
    order = {id(v): i for i, v in enumerate(model.trainable_variables)}
    return [order[id(layer.kernel)] for layer in layers]


@contextmanager
def _probed(
    model: keras.Model, layers: Sequence[Any], probes: Sequence[Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Let each layer add its probe, and store its output in the dictionary that is yielded.

    An accelerated model does not call its layers. Inside of the block every layer and the model
    have Keras's own `call`.
    """
    accelerated = [(part, vars(part).pop("call", None)) for part in flatten_layers(model)]
    outputs: dict[str, Tensor] = {}

    def call_with_probe(layer: Any, probe: Tensor) -> Callable[..., Tensor]:
        original = layer.call

        def call(*args: Any, **kwargs: Any) -> Tensor:
            outputs[layer.name] = output = original(*args, **kwargs) + probe
            return output

        return call

    try:
        for layer, probe in zip(layers, probes, strict=True):
            layer.call = call_with_probe(layer, probe)
        yield outputs
    finally:
        for layer in layers:
            vars(layer).pop("call", None)
        for part, call in accelerated:
            if call is not None:
                part.call = call


def _differentiate(
    loss_of: Callable[..., tuple[Tensor, Any]], values: list[Tensor], probes: list[np.ndarray]
) -> tuple[Tensor, Any, list[Tensor], list[Tensor]]:
    """Return the loss, its auxiliary result, and its gradients by both of its arguments."""
    backend = keras.backend.backend()
    if backend == "torch":
        import torch

        inputs = [v.detach().requires_grad_() for v in values]
        zeros = [ops.convert_to_tensor(p).requires_grad_() for p in probes]
        with torch.enable_grad():
            loss, auxiliary = loss_of(inputs, zeros)
        gradients = torch.autograd.grad(loss, [*inputs, *zeros], allow_unused=True)
    elif backend == "jax":
        import jax

        both = jax.value_and_grad(loss_of, argnums=(0, 1), has_aux=True)
        zeros = [ops.convert_to_tensor(p) for p in probes]
        (loss, auxiliary), (by_value, by_probe) = both(values, zeros)
        gradients = (*by_value, *by_probe)
    else:
        import tensorflow as tf

        inputs = [tf.convert_to_tensor(v) for v in values]
        zeros = [tf.convert_to_tensor(p) for p in probes]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*inputs, *zeros])
            loss, auxiliary = loss_of(inputs, zeros)
        gradients = tape.gradient(loss, [*inputs, *zeros])
    return loss, auxiliary, list(gradients[: len(values)]), list(gradients[len(values) :])


def _numpy(x: Tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(x))
