"""A training as a value: every choice that does not depend on the data (standard library only).

Three update rules are called "SGD with momentum m, learning rate r and weight decay d". For a
gradient g and a weight w they are:

    caffe   v <- m v + r (g + d w)    w <- w - v          He 2015, 2016
    torch   v <- m v + (g + d w)      w <- w - r v        Li 2018, most code since
    keras   v <- m v + r g            w <- w - v - r d w  Keras's own `weight_decay`

Caffe's and Torch's rules differ when the learning rate changes. Keras's decay is outside the
momentum and is 1 / (1 - m) times weaker. With `nesterov`, w takes the step that v would take next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_type_hints

from reslab.core.errors import UserError, short, unknown

CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adadelta"),
    "rule": ("caffe", "torch", "keras"),
    "decay": ("kernels", "all"),
    "schedule": ("steps", "one-cycle", "cosine", "constant", "plateau"),
    "standardise": ("pixel-mean", "pixel", "channel", "unit"),
}


# The learning rate of every step is in memory, 32 bytes each. He 2015 trains for 600,000 steps; a
# thousand epochs of ImageNet at batch 32 are 40 million.
MOST_STEPS = 10**8


@dataclass(frozen=True)
class Recipe:
    """Every choice of a training that does not depend on the data.

    The length is given in `epochs` or, if the source counts iterations, in `steps`. Points of time
    in a schedule are fractions of the training, so that a different length keeps its shape.

    Attributes:
        name: The recipe's name; it becomes a part of the run's folder.
        promise: The command, the hardware and the error to expect.
        source: Where the recipe is from.
        batch: Images per step.
        epochs: The length in epochs; 0 if `steps` is given.
        steps: The length in steps; 0 if `epochs` is given.
        optimizer: "sgd" or "adadelta".
        rate: The learning rate; with "one-cycle" and "cosine" the highest one, with "steps" and
            "plateau" the first one.
        momentum: The momentum of SGD, from 0 to below 1.
        nesterov: Whether SGD takes Nesterov's step.
        rule: The update rule of SGD: "caffe" (the velocity contains the rate), "torch" (the rate
            multiplies the velocity) or "keras" (as "caffe", with the decay outside the momentum).
        weight_decay: The weight decay: a weight times this number is added to its gradient.
        decay: What decays: "kernels", or "all" (biases and batch norm's scale and shift too).
        schedule: "steps", "one-cycle", "cosine", "constant" or "plateau".
        drops: For "steps": when the rate is divided by ten, as fractions of the training.
        patience: For "plateau": epochs without a lower validation error before the rate is divided
            by ten.
        stop_after: Early stopping: epochs without a better validation result before the training
            ends; 0 for none.
        peak: For "one-cycle": when the rate is highest, as a fraction of the training; `rate` is
            its height.
        warmup: The fraction of the training that runs at `warmup_rate` first.
        warmup_rate: The learning rate of the warm-up.
        warmup_layers: Networks with fewer layers have no warm-up.
        head_first: The fraction of the training in which all layers but the head are frozen.
        row_decay: The learning-rate multiplier of a row of the network's table, relative to the row
            after it. Above 0, up to 1.
        augment: The steps of the augmentation, such as ("pad-crop(4)", "flip").
        standardise: How images are normalised: "pixel-mean", "pixel", "channel" or "unit".
        label_smoothing: The label smoothing of the cross-entropy, from 0 to below 1.
        validation: A fraction of the training images, or a number of them from 1 on; 0 for none.

    Raises:
        UserError: A field has a value that is not possible.
    """

    name: str
    promise: str = ""
    source: str = ""
    batch: int = 128
    epochs: float = 0.0
    steps: int = 0
    optimizer: str = "sgd"
    rate: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    rule: str = "torch"
    weight_decay: float = 0.0
    decay: str = "kernels"
    schedule: str = "steps"
    drops: tuple[float, ...] = ()
    patience: int = 5
    stop_after: int = 0
    peak: float = 0.25
    warmup: float = 0.0
    warmup_rate: float = 0.01
    warmup_layers: int = 0
    head_first: float = 0.0
    row_decay: float = 1.0
    augment: tuple[str, ...] = ()
    standardise: str = "channel"
    label_smoothing: float = 0.0
    validation: float = 0.1

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown(name, getattr(self, name), choices)
        limits = {"batch": 1, "rate": 0, "momentum": 0, "weight_decay": 0, "validation": 0}
        limits |= {
            "epochs": 0,
            "steps": 0,
            "warmup_rate": 0,
            "warmup_layers": 0,
            "patience": 1,
            "stop_after": 0,
        }
        for name, low in limits.items():
            value = getattr(self, name)
            if not math.isfinite(value) or value < low:
                raise UserError(f"recipe {self.name}: {name} is {value}, must be {low} or more")
        odd = not self.name.isprintable() or not set(self.name).isdisjoint("/\\")
        if not self.name or self.name.startswith(".") or odd:
            raise UserError(
                f"a recipe has the name {self.name!r}, which cannot be part of a folder's name"
            )
        if (self.epochs > 0) == (self.steps > 0):
            raise UserError(f"recipe {self.name}: give either epochs or steps, above 0")
        if not all(0 <= drop <= 1 for drop in self.drops):
            raise UserError(f"recipe {self.name}: drops are fractions of the training, 0 to 1")
        if not 0 <= self.head_first <= 1 or not 0 < self.row_decay <= 1:
            raise UserError(
                f"recipe {self.name}: head_first is a fraction of the training, 0 to 1, and "
                "row_decay a factor above 0, up to 1"
            )
        for name in ("warmup", "peak", "label_smoothing", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"recipe {self.name}: {name} is a fraction below 1")

    def total_steps(self, steps_per_epoch: int) -> int:
        """The number of steps; raises UserError if it is more than `MOST_STEPS`."""
        steps = self.steps or self.epochs * steps_per_epoch
        if steps > MOST_STEPS:
            raise UserError(
                f"recipe {self.name}: that is {steps:.3g} steps, {MOST_STEPS:,} are the most: "
                "give fewer epochs or steps"
            )
        return max(1, round(steps))

    def rates(self, total: int, layers: int = 0) -> list[float]:
        """The learning rate of every step, for a network of this number of layers.

        Not for "plateau", whose rate depends on the validation error: see `plateau_rate`.
        """
        warm = round(self.warmup * total) if layers >= self.warmup_layers else 0
        return [
            self.warmup_rate if step < warm else self._rate(step, total) for step in range(total)
        ]

    def _rate(self, step: int, total: int) -> float:
        done = step / total
        if self.schedule == "steps":
            # rounded, so that half of 64,001 steps is the same step on every machine
            return self.rate * 0.1 ** sum(step >= round(drop * total) for drop in self.drops)
        if self.schedule == "cosine":
            return self.rate * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "one-cycle":  # linear from 1/25 to the peak, then linear to zero
            if done < self.peak:
                return self.rate * (0.04 + 0.96 * done / self.peak)
            return self.rate * (1 - done) / (1 - self.peak)
        return self.rate

    def plateau_rate(self, errors: Sequence[float]) -> float:
        """The rate after these validation errors; see `patience`."""
        rate, best, waited = self.rate, math.inf, 0
        for error in errors:
            waited = 0 if error < best else waited + 1
            best = min(best, error)
            if waited == self.patience:
                rate, waited = rate / 10, 0
        return rate

    def lasting(self, epochs: float) -> Recipe:
        """The same training with another length; the schedule is rescaled."""
        return replace(self, epochs=epochs, steps=0)


_TYPES = get_type_hints(Recipe)
_SETTABLE = [field.name for field in fields(Recipe)]


def change(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with some fields set; text is read as the field's type (`--set rate=0.05`).

    Setting `epochs` sets `steps` to 0, and the other way round. Raises UserError for an unknown
    field, or a value that does not fit.
    """
    changes = {name: _value(name, value) for name, value in values.items()}
    for given, other in (("epochs", "steps"), ("steps", "epochs")):
        if given in changes and other not in changes:
            changes[other] = 0
    return replace(base, **changes)


def recorded(values: Mapping[str, Any]) -> Recipe:
    """The recipe that `to_json` gave. Raises UserError as `change` does."""
    return change(Recipe("run", epochs=1), values)


def to_json(recipe: Recipe) -> dict[str, Any]:
    return asdict(recipe)


def _value(name: str, value: Any) -> Any:
    if name not in _SETTABLE:
        error = unknown("field of a recipe", name, _SETTABLE)
        raise UserError(f"{error} (`reslab recipes quick` explains all fields)")
    kind = _TYPES[name]
    try:
        if kind is bool:
            return _truth(value)
        if kind in (int, float):
            number = float(value)
            if kind is int and number != int(number):
                raise ValueError
            return kind(number)
        if kind is str:
            if isinstance(value, list | dict):
                raise TypeError
            return str(value)
        item = float if kind == tuple[float, ...] else str
        if isinstance(value, str):
            value = _split(value)
        return tuple(item(each) for each in value)
    except (ValueError, TypeError, OverflowError):
        expected = getattr(kind, "__name__", str(kind))
        raise UserError(f"{name}={short(value)}: the recipe wants {expected} here") from None


def _truth(value: Any) -> bool:
    values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in values:
        raise ValueError
    return values[str(value).lower()]


def _split(text: str) -> list[str]:
    """Split `pad-crop(4),scale-crop(1,2)` at the commas outside of brackets."""
    parts, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts if part.strip()]
