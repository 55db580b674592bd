"""The optimisers of the recipes, as Keras optimisers. The rules are written out in `recipes`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from reslab.recipes import Recipe


@keras.saving.register_keras_serializable("reslab")
class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of every step, from a table: one float32 a step."""

    def __init__(self, rates: Sequence[float]) -> None:
        super().__init__()
        self.rates = np.asarray(rates, "float32")

    def __call__(self, step: Any) -> Any:
        last = len(self.rates) - 1
        return ops.take(
            ops.convert_to_tensor(self.rates), ops.minimum(ops.cast(step, "int32"), last)
        )

    def get_config(self) -> dict[str, Any]:
        return {"rates": self.rates.tolist()}


@keras.saving.register_keras_serializable("reslab")
class SGD(keras.optimizers.SGD):
    """SGD with momentum whose decay is part of the gradient, after Caffe's or Torch's rule.

    Variables named to `exclude_from_weight_decay` do not decay.
    """

    def __init__(self, *args: Any, rule: str = "torch", decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = rule
        self.decay = decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if self.decay and self._use_weight_decay(variable):
            gradient = gradient + self.decay * variable
        if not self.momentum:
            self.assign_sub(variable, rate * gradient)
            return
        # Caffe's velocity is in units of the weights, Torch's in units of the gradient
        inside, outside = (rate, 1.0) if self.rule == "caffe" else (1.0, rate)
        velocity = self.momentums[self._get_variable_index(variable)]
        moved = self.momentum * velocity + inside * gradient
        self.assign(velocity, moved)
        step = self.momentum * moved + inside * gradient if self.nesterov else moved
        self.assign_sub(variable, outside * step)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rule": self.rule, "decay": self.decay}


def optimizer(
    recipe: Recipe, rates: Sequence[float] | None, model: keras.Model
) -> keras.optimizers.Optimizer:
    """The recipe's optimiser for this model.

    `rates` holds the rate of every step; None leaves a rate that can be assigned ("plateau").
    """
    rate = recipe.rate if rates is None else Rates(rates)
    decay = recipe.weight_decay
    if recipe.optimizer == "adadelta":
        made = keras.optimizers.Adadelta(rate, weight_decay=decay or None)
    elif recipe.rule == "keras":
        made = keras.optimizers.SGD(
            rate, recipe.momentum, recipe.nesterov, weight_decay=decay or None
        )
    else:
        made = SGD(rate, recipe.momentum, recipe.nesterov, rule=recipe.rule, decay=decay)
    held = [
        v for v in model.trainable_variables if recipe.decay == "kernels" and v.name != "kernel"
    ]
    if decay and held:
        made.exclude_from_weight_decay(var_list=held)
    return made
