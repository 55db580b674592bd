"""The optimisers of the recipes, as Keras optimisers. The rules are written out in `recipes`."""

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


@dataclass(frozen=True)
class Shares:
    """How the rate is shared out over the variables, in the order that the optimiser has them in.

    The rate of each is the optimiser's times its factor. Those that are `late` stand still, and
    their velocity and decay with them, in the first `start` steps.
    """

    factors: tuple[float, ...]
    late: tuple[bool, ...]
    start: int = 0


@internals.overrides(decay_weights=internals.apply_weight_decay)
class Shared:
    """Mixed into an optimiser: its variables have rates of their own, and some begin later."""

    def __init__(self, *args: Any, shares: Any = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shares = Shares(**shares) if isinstance(shares, dict) else shares

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = self.share(learning_rate, variable)
        super().update_step(self.held(gradient, variable), variable, rate)  # type: ignore[misc]

    def share(self, rate: Any, variable: Any) -> Any:
        """The variable's own rate."""
        if self.shares is None:
            return rate
        return rate * self.shares.factors[internals.variable_index(self, variable)]

    def held(self, change: Any, variable: Any) -> Any:
        """The change, or nothing while the variable stands still."""
        if self.shares is None or not self.shares.start:
            return change
        if not self.shares.late[internals.variable_index(self, variable)]:
            return change
        begun = self.iterations >= self.shares.start  # type: ignore[attr-defined]
        return ops.where(begun, change, ops.zeros_like(change))

    def decay_weights(self, variables: Any) -> None:
        """Keras's decay, which stands outside of `update_step`."""
        if self.shares is None or self.weight_decay is None:  # type: ignore[attr-defined]
            internals.apply_weight_decay(self, variables)
            return
        for v in variables:
            if internals.uses_weight_decay(self, v):
                rate = self.share(ops.cast(self.learning_rate, v.dtype), v)  # type: ignore[attr-defined]
                self.assign_sub(v, self.held(v * (self.weight_decay * rate), v))  # type: ignore[attr-defined]

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()  # type: ignore[misc]
        return {**config, "shares": None if self.shares is None else asdict(self.shares)}


@keras.saving.register_keras_serializable("reslab")
class KerasSGD(Shared, keras.optimizers.SGD):
    """Keras's own rule, with shares."""


@keras.saving.register_keras_serializable("reslab")
class Adadelta(Shared, keras.optimizers.Adadelta):
    """Keras's Adadelta, with shares."""


@keras.saving.register_keras_serializable("reslab")
@internals.overrides(update_all=internals.update_variables)
class SGD(Shared, keras.optimizers.SGD):
    """SGD with momentum whose decay is part of the gradient, after Caffe's or Torch's rule.

    Variables named to `exclude_from_weight_decay` do not decay.
    """

    def __init__(self, *args: Any, rule: str = "torch", decay: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rule = rule
        self.decay = decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = self.share(ops.cast(learning_rate, variable.dtype), variable)
        gradient = ops.cast(gradient, variable.dtype)
        if self.decay and internals.uses_weight_decay(self, variable):
            gradient = gradient + self.decay * variable
        gradient = self.held(gradient, variable)
        if not self.momentum:
            self.assign_sub(variable, rate * gradient)
            return
        # Caffe's velocity is in units of the weights, Torch's in units of the gradient
        inside, outside = (rate, 1.0) if self.rule == "caffe" else (1.0, rate)
        velocity = self.momentums[internals.variable_index(self, variable)]
        moved = self.momentum * velocity + inside * gradient
        self.assign(velocity, moved)
        step = self.momentum * moved + inside * gradient if self.nesterov else moved
        self.assign_sub(variable, outside * step)

    def update_all(self, grads: Any, trainable_variables: Any, learning_rate: Any) -> None:
        """On PyTorch all variables at once: of nets of small layers, half of a step is calls."""
        if keras.backend.backend() != "torch":
            internals.update_variables(self, grads, trainable_variables, learning_rate)
            return
        from reslab.acceleration.torch_sgd import contiguous_views, update

        rate = getattr(learning_rate, "value", learning_rate)
        waits = self.shares is not None and int(self.iterations) < self.shares.start
        groups: dict[tuple[float, float], list[tuple[Any, ...]]] = {}
        for gradient, v in zip(grads, trainable_variables, strict=True):
            place = internals.variable_index(self, v)
            if waits and self.shares.late[place]:
                continue  # its velocity is nought till then
            velocity = (self.momentums[place].value,) if self.momentum else ()
            tensors = contiguous_views(v.value, gradient, *velocity)
            if tensors is None:
                self.update_step(gradient, v, rate)
                continue
            decay = self.decay if internals.uses_weight_decay(self, v) else 0.0
            factor = 1.0 if self.shares is None else self.shares.factors[place]
            groups.setdefault((decay, factor), []).append(tensors)
        for (decay, factor), each in groups.items():
            update(
                each,
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
    shares: Shares | None = None,
) -> keras.optimizers.Optimizer:
    """The recipe's optimiser for this model.

    `rates` holds the rate of every step; None leaves a rate that can be assigned ("plateau").
    `shares` are those of the model's trainable variables; without them all move alike.
    """
    rate = recipe.rate if rates is None else Rates(rates)
    decay, momentum = recipe.weight_decay, (recipe.momentum, recipe.nesterov)
    shared: dict[str, Any] = {} if shares is None else {"shares": shares}  # Keras's own is faster
    if recipe.optimizer == "adadelta":
        adadelta = Adadelta if shared else keras.optimizers.Adadelta
        made = adadelta(rate, weight_decay=decay or None, **shared)
    elif recipe.rule == "keras":
        sgd = KerasSGD if shared else keras.optimizers.SGD
        made = sgd(rate, *momentum, weight_decay=decay or None, **shared)
    else:
        made = SGD(rate, *momentum, rule=recipe.rule, decay=decay, **shared)
    held = [
        v for v in model.trainable_variables if recipe.decay == "kernels" and v.name != "kernel"
    ]
    if decay and held:
        made.exclude_from_weight_decay(var_list=held)
    return made
