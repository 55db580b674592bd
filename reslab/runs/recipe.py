"""A training as a value: every choice that does not depend on the data (standard library only).

The three rules that go by "SGD with momentum m, rate r and decay d", for a gradient g:

    caffe   v <- m v + r (g + d w)    w <- w - v          He 2015, 2016
    torch   v <- m v + (g + d w)      w <- w - r v        Li 2018, most code since
    keras   v <- m v + r g            w <- w - v - r d w  Keras's own `weight_decay`

Caffe's and Torch's part where the rate changes. Keras's decay stands outside the momentum and is
1 / (1 - m) times weaker. With `nesterov`, w takes the step that v would take next.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, get_type_hints

from reslab.core.errors import UserError, unknown

CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": ("sgd", "adadelta"),
    "rule": ("caffe", "torch", "keras"),
    "decay": ("kernels", "all"),
    "schedule": ("steps", "one-cycle", "cosine", "constant", "plateau"),
    "standardise": ("pixel-mean", "pixel", "channel", "unit"),
}


# The rate of every step is kept in memory, 32 bytes each. He 2015 trains for 600,000 steps; a
# thousand epochs of ImageNet at batch 32 are 40 million.
MOST_STEPS = 10**8


@dataclass(frozen=True)
class Recipe:
    """A training. The length is in `epochs`, or in `steps` where the source counts iterations.

    Moments in a schedule are fractions of the whole, so that another length keeps the shape.
    """

    name: str
    promise: str = ""  # the command, the hardware, the error to expect
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
    decay: str = "kernels"  # or "all": biases and batch norm's scale and shift too
    schedule: str = "steps"
    drops: tuple[float, ...] = ()  # "steps": where the rate is divided by ten
    patience: int = 5  # "plateau": epochs without a better validation error until it is
    peak: float = 0.25  # "one-cycle": where the rate stands highest
    warmup: float = 0.0  # the part of the training run at `warmup_rate` first
    warmup_rate: float = 0.01
    warmup_layers: int = 0  # ... by nets of as many layers, or more
    head_first: float = 0.0  # the part of the training in which only the classifier moves
    row_decay: float = 1.0  # the rate of a row of the table, over that of the row behind it
    augment: tuple[str, ...] = ()
    standardise: str = "channel"
    label_smoothing: float = 0.0
    validation: float = 0.1  # a part of the training images, or a number of them; 0 for none

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)
        limits = {"batch": 1, "rate": 0, "momentum": 0, "weight_decay": 0, "validation": 0}
        limits |= {"epochs": 0, "steps": 0, "warmup_rate": 0, "warmup_layers": 0, "patience": 1}
        for name, low in limits.items():
            value = getattr(self, name)
            if not math.isfinite(value) or value < low:
                raise UserError(f"recipe {self.name}: {name} is {value}, must be {low} or more")
        if not self.name or self.name.startswith(".") or not set(self.name).isdisjoint("/\\\0"):
            raise UserError(
                f"a recipe is called {self.name!r}: its name becomes part of a folder's"
            )
        if (self.epochs > 0) == (self.steps > 0):
            raise UserError(f"recipe {self.name}: give either epochs or steps, above 0")
        if not all(0 <= drop <= 1 for drop in self.drops):
            raise UserError(f"recipe {self.name}: drops are parts of the training, 0 to 1")
        if not 0 <= self.head_first <= 1 or not 0 < self.row_decay <= 1:
            raise UserError(
                f"recipe {self.name}: head_first is a part of the training, 0 to 1, and row_decay "
                "a factor above 0, up to 1"
            )
        for name in ("warmup", "peak", "label_smoothing", "momentum"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"recipe {self.name}: {name} is a fraction below 1")

    def total_steps(self, steps_per_epoch: int) -> int:
        """Raises UserError where they are more than `MOST_STEPS`."""
        wanted = self.steps or self.epochs * steps_per_epoch
        if wanted > MOST_STEPS:
            raise UserError(
                f"recipe {self.name}: that is {wanted:.3g} steps, {MOST_STEPS:,} are the most: "
                "give fewer epochs or steps"
            )
        return max(1, round(wanted))

    def rates(self, total: int, layers: int = 0) -> list[float]:
        """The learning rate of every step, for a network of so many layers.

        Not for "plateau", whose rate depends on what is seen: see `plateau_rate`.
        """
        warm = round(self.warmup * total) if layers >= self.warmup_layers else 0
        return [
            self.warmup_rate if step < warm else self._rate(step, total) for step in range(total)
        ]

    def _rate(self, step: int, total: int) -> float:
        done = step / total
        if self.schedule == "steps":
            # rounded, so that half of 64,001 steps is one moment on every machine
            return self.rate * 0.1 ** sum(step >= round(drop * total) for drop in self.drops)
        if self.schedule == "cosine":
            return self.rate * (1 + math.cos(math.pi * done)) / 2
        if self.schedule == "one-cycle":  # linear from a 25th to the peak, linear to nothing
            if done < self.peak:
                return self.rate * (0.04 + 0.96 * done / self.peak)
            return self.rate * (1 - done) / (1 - self.peak)
        return self.rate

    def plateau_rate(self, errors: Sequence[float]) -> float:
        """The rate after these validation errors: a tenth for each `patience` epochs in vain."""
        rate, best, waited = self.rate, math.inf, 0
        for error in errors:
            waited = 0 if error < best else waited + 1
            best = min(best, error)
            if waited == self.patience:
                rate, waited = rate / 10, 0
        return rate

    def lasting(self, epochs: float) -> Recipe:
        """The same training over another number of epochs, in proportion."""
        return replace(self, epochs=epochs, steps=0)


_TYPES = get_type_hints(Recipe)
_SETTABLE = [field.name for field in fields(Recipe)]


def change(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with some fields set; text is read as the field's type (`--set rate=0.05`).

    Setting `epochs` unsets `steps` and the other way round. Raises UserError for a field that is
    not there or a value that does not fit.
    """
    known = {name: _value(name, value) for name, value in values.items()}
    for one, other in (("epochs", "steps"), ("steps", "epochs")):
        if one in known and other not in known:
            known[other] = 0
    return replace(base, **known)


def to_json(recipe: Recipe) -> dict[str, Any]:
    return asdict(recipe)


def _value(name: str, value: Any) -> Any:
    if name not in _SETTABLE:
        raise unknown("field of a recipe", name, _SETTABLE)
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
            return str(value)
        item = float if kind == tuple[float, ...] else str
        if isinstance(value, str):
            value = _split(value)
        return tuple(item(each) for each in value)
    except (ValueError, TypeError, OverflowError):
        wanted = getattr(kind, "__name__", str(kind))
        raise UserError(f"{name}={value!r}: the recipe wants {wanted} here") from None


def _truth(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if str(value).lower() not in words:
        raise ValueError
    return words[str(value).lower()]


def _split(text: str) -> list[str]:
    """`pad-crop(4),scale-crop(1,2)` at the commas outside of brackets."""
    parts, deep = [""], 0
    for c in text:
        deep += (c == "(") - (c == ")")
        if c == "," and deep == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts if part.strip()]
