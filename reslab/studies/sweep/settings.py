"""How all networks of a study are trained (standard library only)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reslab.core.errors import UserError
from reslab.runs import papers
from reslab.runs import recipe as recipes
from reslab.runs.fields import set_fields
from reslab.runs.recipe import Recipe

if TYPE_CHECKING:
    from reslab.data import Data


@dataclass(frozen=True)
class Terms:
    """Data, recipe and sizes of all trainings of a study.

    No images are set aside for validation, because no epoch is selected.

    Args:
        data: A name of `reslab list`, a folder, or a data set.
        recipe: A name, a .toml file, or a recipe.
        changes: Recipe fields to change.
        seeds: Trainings of each network.
        budget: Minutes. Epochs, images and width that are None are chosen to fit.
        epochs: None for the recipe's, without a budget.
        images: Size of a sample of the training images; None for all, without a budget.
        width: A factor for the number of filters; None for 1, without a budget.
        keep_checkpoints: Whether to keep the weights of every epoch.
        out: Folder of the study; studies/... by default.
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
                raise UserError(f"{name} is {value:g}{unit}: choose a number above 0")
        for name in ("seeds", "images"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name} is {value}: choose at least one")
        if "validation" in self.changes:
            raise UserError("validation cannot be set: these studies select no epoch, so remove it")
        if twice := {"epochs", "steps"} & set(self.changes if self.epochs is not None else ()):
            name = min(twice)
            raise UserError(f"{name} is set twice, by --epochs and by --set {name}: leave one out")

    def full_recipe(self) -> Recipe:
        """The recipe at its own length. UserError if it needs validation images."""
        recipe = set_fields(papers.recipe(self.recipe), self.changes)
        recipe = recipes.change(recipe, {"validation": 0})
        if recipe.schedule == "plateau":
            raise UserError(f"recipe {recipe.name} needs validation images: choose another")
        return recipe

    def asked(self) -> dict[str, Any]:
        """What identifies a study: the recipe's name, its changed fields, and the sizes."""
        base, changed_recipe = (
            recipes.to_json(papers.recipe(self.recipe)),
            recipes.to_json(self.full_recipe()),
        )
        changed = {k: v for k, v in changed_recipe.items() if v != base[k]}
        changed.pop("validation", None)
        sizes = {name: getattr(self, name) for name in ("seeds", "budget", *SIZES)}
        return {"recipe": base["name"], "set": changed, **sizes}

    def suffix(self) -> str:
        """`-30min-3seeds`: the settings that differ from the defaults, for the folder's name."""
        parts = [f"{self.budget:g}min"] if self.budget is not None else []
        parts += [f"{getattr(self, name):g}{name}" for name in SIZES if getattr(self, name)]
        parts += [f"{self.seeds}seeds"] if self.seeds > 1 else []
        return "".join(f"-{part}" for part in parts)


SIZES = "epochs", "images", "width"
