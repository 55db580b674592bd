"""Keras's training step on PyTorch, with one walk over the layers where Keras makes three.

Where maps are small and images few, Python is what a step waits for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import torch

from reslab.acceleration import keras_internals as internals
from reslab.acceleration.torch_compile import compiled
from reslab.acceleration.torch_sgd import in_one_pass

TorchTrainer = internals.torch_trainer()


def step_of(model: Any) -> Callable[[Any], Any] | None:
    """What to replace `model.train_step` by; None where there is none.

    With `compile(jit_compile=True)` the plans inside are compiled. Keras would have torch.compile
    trace the whole step, itself and its layers' scopes included: see `compiles_whole`.
    """
    own = getattr(type(model), "train_step", None)
    if own is None:
        return None
    step = _step if own is TorchTrainer.train_step else own

    def train_step(data: Any) -> Any:
        with compiled(bool(model.jit_compile)):
            return step(model, data)

    return train_step


def compiles_whole(model: Any) -> Callable[[], bool] | None:
    """What to replace Keras's choice whether to trace whole steps by: no step is traced whole."""
    return (lambda: False) if isinstance(model, TorchTrainer) else None


def _step(model: Any, data: Any) -> Any:
    if model.optimizer is None:
        return TorchTrainer.train_step(model, data)
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    told = {"training": True} if internals.has_training_argument(model) else {}
    y_pred = model(x, **told)
    weights = model.trainable_weights  # after the call, which may make some
    values = [weight.value for weight in weights]
    for value in values:  # nobody asks for the others'
        value.grad = None
    loss = internals.compute_loss(
        model, x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True
    )
    images = next(each for each in keras.tree.flatten(x) if each is not None).shape[0]
    internals.loss_tracker(model).update_state(loss, sample_weight=images)
    loss = model.optimizer.scale_loss(loss)
    if values:
        loss.backward()
        with torch.no_grad(), in_one_pass(model.optimizer):
            model.optimizer.apply([value.grad for value in values], weights)
    else:
        warnings.warn("The model does not have any trainable weights.", stacklevel=2)
    return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)
