"""The fields of a recipe: what they mean, their units, and which other fields decide on them.

The meanings are those of the docstring of `Recipe`, so that the reference and the command line say
the same.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from reslab.core.errors import UserError
from reslab.runs.recipe import CHOICES, Recipe, change

UNITS = {
    "batch": "images",
    "epochs": "epochs",
    "steps": "steps",
    "drops": "fractions of the training",
    "patience": "epochs",
    "stop_after": "epochs",
    "peak": "fraction of the training",
    "warmup": "fraction of the training",
    "warmup_layers": "layers",
    "head_first": "fraction of the training",
    "row_decay": "factor",
    "validation": "fraction, or images",
}

# What the other fields must be for a field to be read: one of these values, or above 0 (None).
Condition = tuple[str, tuple[str, ...] | None]
READ_WITH: dict[str, tuple[Condition, ...]] = {
    "drops": (("schedule", ("steps",)),),
    "peak": (("schedule", ("one-cycle",)),),
    "patience": (("schedule", ("plateau",)),),
    "warmup": (("schedule", ("steps", "one-cycle", "cosine", "constant")),),
    "warmup_rate": (("warmup", None),),
    "warmup_layers": (("warmup", None),),
    "momentum": (("optimizer", ("sgd",)),),
    "nesterov": (("optimizer", ("sgd",)), ("momentum", None)),
    "rule": (("optimizer", ("sgd",)),),
    "decay": (("weight_decay", None),),
}
# A value that switches the field off is accepted everywhere: it is what happens.
OFF: dict[str, Any] = {
    "drops": (),
    "warmup": 0,
    "warmup_layers": 0,
    "momentum": 0,
    "nesterov": False,
}
# The field that shapes a schedule, beside `rate`.
SHAPED_BY = {"steps": "drops", "one-cycle": "peak", "plateau": "patience"}


def set_fields(base: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with fields that a person has set; see `change`.

    Raises UserError where `change` does, and for a field that the resulting recipe does not read.
    """
    recipe = change(base, values)
    for name in values:
        if getattr(recipe, name) != OFF.get(name, ...) and (gap := _gap(recipe, name)):
            other, needed = gap
            options = f"{other} above 0" if needed is None else _either(other, needed)
            add = f"{other}={needed[0]}" if needed and len(needed) == 1 else other
            raise UserError(
                f"recipe {recipe.name}: {name} has no effect, because {unread(recipe, name)}: it "
                f"is read with {options}; set {add} too, or {_instead(recipe, name, other)}"
            )
    return recipe


def unread(recipe: Recipe, name: str) -> str:
    """Why the recipe does not read this field, such as "schedule is cosine"; "" if it reads it."""
    gap = _gap(recipe, name)
    return f"{gap[0]} is {getattr(recipe, gap[0])}" if gap else ""


def _gap(recipe: Recipe, name: str) -> Condition | None:
    """The first condition of the field that the recipe does not meet."""
    for other, needed in READ_WITH.get(name, ()):
        actual = getattr(recipe, other)
        if not (actual > 0 if needed is None else actual in needed):
            return other, needed
    return None


def _either(name: str, values: tuple[str, ...]) -> str:
    *first, last = (f"{name}={value}" for value in values)
    return f"{', '.join(first)} or {last}" if first else last


def _instead(recipe: Recipe, name: str, other: str) -> str:
    """What to do if the person meant something else."""
    if other != "schedule":
        return f"leave {name} out"
    shape = SHAPED_BY.get(recipe.schedule)
    action = f"set {shape}" if shape else f"leave {name} out"
    return f"{action} (the learning rate itself is the field rate)"


def describe(recipe: Recipe) -> list[dict[str, Any]]:
    """Every field of a recipe as JSON data.

    Each has "field", "value", "default" (of a recipe file without a base; None if it must be
    given), "unit" ("" for none), "choices", "meaning" and "unread" (why the recipe does not read
    it, or "").
    """
    return [
        {
            "field": field.name,
            "value": getattr(recipe, field.name),
            "default": None if field.default is MISSING else field.default,
            "unit": UNITS.get(field.name, ""),
            "choices": list(CHOICES.get(field.name, ())),
            "meaning": meanings().get(field.name, ""),
            "unread": unread(recipe, field.name),
        }
        for field in fields(Recipe)
    ]


@cache
def meanings() -> dict[str, str]:
    """The meaning of each field, from the docstring of `Recipe`; {} if Python removed it."""
    text = inspect.getdoc(Recipe) or ""
    section = text.partition("Attributes:\n")[2].partition("\n\n")[0]
    entries = re.split(r"^    (?=\w+: )", section, flags=re.MULTILINE)
    pairs = (entry.partition(": ") for entry in entries if entry)
    return {name: " ".join(meaning.split()) for name, _, meaning in pairs}
