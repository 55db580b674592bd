"""Keras's training step on PyTorch, with one pass over the layers where Keras makes three.

With small maps and batches, Python limits the speed of a step.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import torch

from reslab.acceleration import keras_internals as internals
from reslab.acceleration.torch_compile import compilation
from reslab.acceleration.torch_sgd import in_one_pass

TorchTrainer = internals.torch_trainer()


def step_of(model: Any) -> Callable[[Any], Any] | None:
    """Make the function that replaces `model.train_step`; None if there is no such method.

    With `compile(jit_compile=True)` the plans of the model are compiled. Keras would let
    torch.compile trace the whole step, with the scopes of all layers: see `compiles_whole`.
    """
    method = getattr(type(model), "train_step", None)
    if method is None:
        return None
    step = _step if method is TorchTrainer.train_step else method

    def train_step(data: Any) -> Any:
        with compilation(bool(model.jit_compile)):
            return step(model, data)

    return train_step


def compiles_whole(model: Any) -> Callable[[], bool] | None:
    """Make the function that keeps Keras from tracing whole steps."""
    return (lambda: False) if isinstance(model, TorchTrainer) else None


def _step(model: Any, data: Any) -> Any:
    if model.optimizer is None:
        return TorchTrainer.train_step(model, data)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    arguments = {"training": True} if internals.has_training_argument(model) else {}
    y_pred = model(x, **arguments)
    weights = model.trainable_weights  # after the call, which may make some
    values = [weight.value for weight in weights]
    for value in values:  # the gradients of other weights are not used
        value.grad = None
    loss = internals.compute_loss(
        model, x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
    )
    images = next(array for array in keras.tree.flatten(x) if array is not None).shape[0]
    internals.loss_tracker(model).update_state(loss, sample_weight=images)
    loss = model.optimizer.scale_loss(loss)
    if values:
        loss.backward()
        with torch.no_grad(), in_one_pass(model.optimizer):
            model.optimizer.apply([value.grad for value in values], weights)
    else:
        warnings.warn("The model does not have any trainable weights.", stacklevel=2)
    return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
