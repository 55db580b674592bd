"""The optimisers of recipes as Keras optimisers. `reslab.runs.recipe` has their rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from reslab.acceleration import keras_internals as internals
from reslab.runs.recipe import Recipe


@keras.saving.register_keras_serializable("reslab")
class Rates(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate of every step, from a table of one float32 per step."""

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


@dataclass(frozen=True)
class Multipliers:
    """Learning-rate multipliers of the trainable variables, in the optimiser's order.

    The rate of a variable is the optimiser's times its factor. In the first `start` steps, the
    variables marked in `late` are frozen, with their velocity and decay. Model files hold the names
    of these fields.
    """

    factors: tuple[float, ...]
    late: tuple[bool, ...]
    start: int = 0


@internals.overrides(decay_weights=internals.apply_weight_decay)
class WithMultipliers:
    """A mixin for optimisers: variables have multipliers of the rate, and some unfreeze later.

    The argument is called `shares`, as in the model files that hold it.
    """

    def __init__(self, *args: Any, shares: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shares = Multipliers(**shares) if isinstance(shares, dict) else shares

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = self.rate_of(learning_rate, variable)
        super().update_step(self.or_zero(gradient, variable), variable, rate)  # type: ignore[misc]

    def rate_of(self, rate: Any, variable: Any) -> Any:
        """The rate of a variable."""
        if self.shares is None:
            return rate
        return rate * self.shares.factors[internals.variable_index(self, variable)]

    def or_zero(self, change: Any, variable: Any) -> Any:
        """The change of a variable, or zero while it is frozen."""
        if self.shares is None or not self.shares.start:
            return change
        if not self.shares.late[internals.variable_index(self, variable)]:
            return change
        unfrozen = self.iterations >= self.shares.start  # type: ignore[attr-defined]
        return ops.where(unfrozen, change, ops.zeros_like(change))

    def decay_weights(self, variables: Any) -> None:
        """Apply Keras's weight decay, which is separate from `update_step`."""
        if self.shares is None or self.weight_decay is None:  # type: ignore[attr-defined]
            internals.apply_weight_decay(self, variables)
            return
        for v in variables:
            if internals.uses_weight_decay(self, v):
                rate = self.rate_of(ops.cast(self.learning_rate, v.dtype), v)  # type: ignore[attr-defined]
                self.assign_sub(v, self.or_zero(v * (self.weight_decay * rate), v))  # type: ignore[attr-defined]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()  # type: ignore[misc]
        return {**config, "shares": None if self.shares is None else asdict(self.shares)}


@keras.saving.register_keras_serializable("reslab")
class KerasSGD(WithMultipliers, keras.optimizers.SGD):
    """Keras's SGD with learning-rate multipliers."""


@keras.saving.register_keras_serializable("reslab")
class Adadelta(WithMultipliers, keras.optimizers.Adadelta):
    """Keras's Adadelta with learning-rate multipliers."""


@keras.saving.register_keras_serializable("reslab")
@internals.overrides(update_all=internals.update_variables)
class SGD(WithMultipliers, keras.optimizers.SGD):
    """SGD with momentum whose decay is part of the gradient, by the rule of Caffe or Torch.

    Variables given to `exclude_from_weight_decay` do not decay.
    """

    def __init__(self, *args: Any, rule: str = "torch", decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = rule
        self.decay = decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = self.rate_of(ops.cast(learning_rate, variable.dtype), variable)
        gradient = ops.cast(gradient, variable.dtype)
        if self.decay and internals.uses_weight_decay(self, variable):
            gradient = gradient + self.decay * variable
        gradient = self.or_zero(gradient, variable)
        if not self.momentum:
            self.assign_sub(variable, rate * gradient)
            return
        # Caffe's velocity is in units of the weights, Torch's in units of the gradient
        inside, outside = (rate, 1.0) if self.rule == "caffe" else (1.0, rate)
        velocity = self.momentums[internals.variable_index(self, variable)]
        new_velocity = self.momentum * velocity + inside * gradient
        self.assign(velocity, new_velocity)
        step = new_velocity
        if self.nesterov:
            step = self.momentum * new_velocity + inside * gradient
        self.assign_sub(variable, outside * step)

    def update_all(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        """Update all variables at once on PyTorch: with small layers, calls take half a step."""
        if keras.backend.backend() != "torch":
            internals.update_variables(self, grads, trainable_variables, learning_rate)
            return
        from reslab.acceleration.torch_sgd import contiguous_views, update

        rate = getattr(learning_rate, "value", learning_rate)
        some_frozen = self.shares is not None and int(self.iterations) < self.shares.start
        groups: dict[tuple[float, float], list[tuple[Any, ...]]] = {}
        for gradient, v in zip(grads, trainable_variables, strict=True):
            index = internals.variable_index(self, v)
            if some_frozen and self.shares.late[index]:
                continue  # its velocity is zero until it unfreezes
            velocity = (self.momentums[index].value,) if self.momentum else ()
            tensors = contiguous_views(v.value, gradient, *velocity)
            if tensors is None:
                self.update_step(gradient, v, rate)
                continue
            decay = self.decay if internals.uses_weight_decay(self, v) else 0.0
            factor = 1.0 if self.shares is None else self.shares.factors[index]
            groups.setdefault((decay, factor), []).append(tensors)
        for (decay, factor), group in groups.items():
            update(
                group,
                rate * factor,
                self.momentum,
                rule=self.rule,
                decay=decay,
                nesterov=self.nesterov,
            )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rule": self.rule, "decay": self.decay}


def optimizer(
    recipe: Recipe,
    rates: Sequence[float] | None,
    model: keras.Model,
    multipliers: Multipliers | None = None,
) -> keras.optimizers.Optimizer:
    """Create the optimiser of a recipe for this model.

    `rates` holds the rate of every step; None leaves a rate that can be assigned ("plateau").
    `multipliers` are those of the model's trainable variables; None means 1 for all.
    """
    rate = recipe.rate if rates is None else Rates(rates)
    decay, momentum = recipe.weight_decay, (recipe.momentum, recipe.nesterov)
    # without multipliers, Keras's own classes are faster
    options: dict[str, Any] = {} if multipliers is None else {"shares": multipliers}
    if recipe.optimizer == "adadelta":
        adadelta = Adadelta if options else keras.optimizers.Adadelta
        result = adadelta(rate, weight_decay=decay or None, **options)
    elif recipe.rule == "keras":
        sgd = KerasSGD if options else keras.optimizers.SGD
        result = sgd(rate, *momentum, weight_decay=decay or None, **options)
    else:
        result = SGD(rate, *momentum, rule=recipe.rule, decay=decay, **options)
    excluded = [
        v for v in model.trainable_variables if recipe.decay == "kernels" and v.name != "kernel"
    ]
    if decay and excluded:
        result.exclude_from_weight_decay(var_list=excluded)
    return result
