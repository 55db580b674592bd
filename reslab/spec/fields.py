"""What the fields of parts may hold: kinds, ranges and choices, checked when a part is made.

A rule stands in the annotation of a field: `filters: Size` is `Annotated[int, Whole(1, ...)]`. The
same rules therefore hold for parts that Python makes and for those that are read from a file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, get_type_hints

from reslab.core.errors import UserError, short

MOST_SIZE = 2**24  # of channels, kernels, strides and images
MOST_LAYERS = 100_000  # of a network, repetitions counted
MOST_STRIDE = 2**31  # from the image to a layer


@dataclass(frozen=True)
class Whole:
    """A whole number in a range; with `text` also one of these words, with `none` also None."""

    low: int
    high: int
    text: bool = False
    none: bool = False

    def accepts(self, value: Any) -> bool:
        if value is None or isinstance(value, str):
            return self.none if value is None else self.text
        whole = isinstance(value, Integral) and not isinstance(value, bool)
        return whole and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a whole number from {self.low:,} to {self.high:,}"


@dataclass(frozen=True)
class Decimal:
    """A finite number in a range."""

    low: float = -1e30
    high: float = 1e30

    def accepts(self, value: Any) -> bool:
        number = isinstance(value, Real) and not isinstance(value, bool)
        return number and math.isfinite(value) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class OneOf:
    """One of some words; any word if there are none."""

    words: tuple[str, ...] = ()

    def accepts(self, value: Any) -> bool:
        return isinstance(value, str) and (value in self.words or not self.words)

    def __str__(self) -> str:
        return " or ".join(map(repr, self.words)) or "text"


@dataclass(frozen=True)
class YesOrNo:
    """True or False."""

    def accepts(self, value: Any) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "True or False"


@dataclass(frozen=True)
class Instance:
    """An instance of a class."""

    of: type

    def accepts(self, value: Any) -> bool:
        return isinstance(value, self.of)

    def __str__(self) -> str:
        return f"of the class {self.of.__name__}"


RULES = Whole, Decimal, OneOf, YesOrNo, Instance

Size = Annotated[int, Whole(1, MOST_SIZE)]
Times = Annotated[int, Whole(0, MOST_LAYERS)]
Pad = Annotated[int | str, Whole(0, MOST_SIZE, text=True)]
Seed = Annotated[int | None, Whole(-(2**63), 2**63, none=True)]
Flag = Annotated[bool, YesOrNo()]
Text = Annotated[str, OneOf()]
Number = Annotated[float, Decimal()]
Positive = Annotated[float, Decimal(0)]
Fraction = Annotated[float, Decimal(0, 1)]


@cache
def _rules(cls: type) -> dict[str, Any]:
    """The rules in the annotations of a class, by field."""
    try:
        hints = get_type_hints(cls, include_extras=True)
    except (NameError, TypeError):  # of a user's part: annotations that only a type checker reads
        return {}
    metadata = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {
        name: rule for name, each in metadata.items() for rule in each if isinstance(rule, RULES)
    }


def check_fields(thing: object) -> None:
    """Raise UserError if a field breaks the rule in its annotation."""
    cls: Any = type(thing)
    for name, rule in _rules(cls).items():
        if not rule.accepts(value := getattr(thing, name)):
            raise UserError(f"{cls.__name__}: {name} is {short(value)}; it should be {rule}")
