"""The terms under which all networks of a study are trained (standard library only)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.core.errors import UserError
from reslab.runs import papers
from reslab.runs import recipe as recipes
from reslab.runs.recipe import Recipe

if TYPE_CHECKING:
    from reslab.data import Data


@dataclass(frozen=True)
class Terms:
    """One recipe for all. With a `budget` in minutes, what is None is chosen to fit it.

    Without, `epochs` are the recipe's own, `images` all training images, and `width` 1: a factor
    to the filters. No images are set apart for validation: nothing is chosen.
    """

    data: str | Path | Data
    recipe: str | Path | Recipe = "paper-cifar"
    changes: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 1
    budget: float | None = None
    epochs: float | None = None
    images: int | None = None
    width: float | None = None
    keep_checkpoints: bool = False
    out: str | Path | None = None

    def __post_init__(self) -> None:
        for name, unit in (("budget", " minutes"), ("epochs", ""), ("width", "")):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} is {value:g}{unit}: it must be above 0")
        for name in ("seeds", "images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}: at least one")
        if "validation" in self.changes:
            raise UserError("validation cannot be set: here no epoch is chosen, by any images")

    def chosen(self) -> Recipe:
        """The recipe, at its own length. Raises UserError where it cannot do without validation."""
        recipe = recipes.change(papers.recipe(self.recipe), {**self.changes, "validation": 0})
        if recipe.schedule == "plateau":
            raise UserError(f"recipe {recipe.name} watches validation images: choose another")
        return recipe

    def asked(self) -> dict[str, Any]:
        """What a study is known by: the recipe's name, what is set in it, and the sizes."""
        base, own = recipes.to_json(papers.recipe(self.recipe)), recipes.to_json(self.chosen())
        changed = {name: own[name] for name in own if own[name] != base[name]}
        changed.pop("validation", None)
        same = {name: getattr(self, name) for name in ("seeds", "budget", *SIZES)}
        return {"recipe": base["name"], "set": changed, **same}

    def suffix(self) -> str:
        """`-30min-3seeds`: what was asked beyond the usual, for the name of a folder."""
        words = [f"{self.budget:g}min"] if self.budget is not None else []
        words += [f"{getattr(self, name):g}{name}" for name in SIZES if getattr(self, name)]
        words += [f"{self.seeds}seeds"] if self.seeds > 1 else []
        return "".join(f"-{word}" for word in words)


SIZES = "epochs", "images", "width"
