"""The choices of a training, typed: shared by the command line, Python and run.json."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from reslab.core.errors import UserError, unknown
from reslab.runs import papers
from reslab.runs.fields import set_fields
from reslab.runs.recipe import Recipe, change

PRECISIONS = "float32", "mixed"
RECIPE, FINE_TUNE = "quick", "fine-tune"  # the default recipes: from new weights, from given ones
# The options that run.json records, each under its own name. Three of them are not recorded as they
# were given: `weights` is what is known about the file, `stacked` and `remat` are what was decided.
RECORDED = (
    "seed",
    "precision",
    "balance",
    "class_weights",
    "keep_checkpoints",
    "checkpoint_seconds",
    "workers",
    "weights",
    "freeze_bn",
    "recalibrate_bn",
    "stacked",
    "remat",
    "jit_compile",
    "keep_seen",
    "track",
)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """All options of `reslab.train`, which documents them.

    Raises:
        UserError: An option is not possible, or does not go with another one.
    """

    recipe: str | Path | Recipe | None = None
    weights: str | Path | None = None
    scheme: str = "auto"
    strict: bool = True
    ema: bool = True
    freeze_bn: bool = False
    recalibrate_bn: bool = False
    out: str | Path | None = None
    changes: Mapping[str, Any] | None = None
    epochs: float | None = None
    batch: int | None = None
    size: int | tuple[int, int] | None = None
    channels: int | None = None
    validation: float | None = None
    test: float | str | None = None
    images: int | None = None
    precision: str = "float32"
    seed: int = 0
    balance: bool = False
    class_weights: Mapping[str, float] | None = None
    skip_bad: bool = False
    group: str | None = None
    columns: Mapping[str, str] | None = None
    keep_seen: bool = False
    keep_checkpoints: bool = False
    checkpoint_seconds: float = 60.0
    stacked: bool | None = None
    remat: bool | None = None
    jit_compile: bool = False
    workers: int = 2
    track: str | Sequence[str] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "track", names(self.track))
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}; give a number from 0 to {2**32 - 1}")
        doubles = ("batch", ("batch",)), ("epochs", ("epochs", "steps"))
        for name, others in (*doubles, ("validation", ("validation",))):
            for other in others:
                if getattr(self, name) is not None and other in (self.changes or {}):
                    raise UserError(
                        f"{other} is set twice, by --{name} and by --set {other}: leave one out"
                    )
        if self.balance and self.class_weights:
            raise UserError("--balance computes weights for all classes: leave out --class-weight")
        if self.freeze_bn and self.weights is None:
            raise UserError(
                "--freeze-bn keeps the statistics of given weights: add --weights SOURCE"
            )
        if self.freeze_bn and self.recalibrate_bn:
            raise UserError(
                "--freeze-bn keeps batch norm's statistics and --recalibrate-bn replaces them: "
                "choose one"
            )

    def resolve_recipe(self, images: int | None = None) -> Recipe:
        """The recipe with all changes; raises UserError for unknown names and bad values.

        Args:
            images: The number of training images, if it is known by now.
        """
        default = RECIPE if self.weights is None else FINE_TUNE
        given = dict(self.changes or {})
        names = "batch", "epochs", "validation"
        given |= {k: v for k in names if (v := getattr(self, k)) is not None}
        name = default if self.recipe is None else self.recipe
        recipe = papers.recipe(name, images=images, given=given)
        recipe = set_fields(recipe, self.changes or {})
        for field in ("batch", "validation"):
            if (value := getattr(self, field)) is not None:
                recipe = change(recipe, {field: value})
        return recipe if self.epochs is None else recipe.lasting(self.epochs)

    def record(self, **decided: Any) -> dict[str, Any]:
        """The entries of run.json, with what was decided in place of what was given."""
        return {name: getattr(self, name) for name in RECORDED} | decided

    @classmethod
    def of_run(cls, info: Mapping[str, Any]) -> Self:
        """The recorded options of a run, as far as a resumed training needs them."""
        recorded = {name: info[name] for name in RECORDED if name in info}
        weights = recorded.pop("weights", None)
        if weights:
            recorded |= {"weights": weights["source"], **weights_options(weights)}
        return cls(**recorded)


def names(text: str | Sequence[str]) -> tuple[str, ...]:
    """The names in texts with commas, each once."""
    texts = [text] if isinstance(text, str) else text
    parts = [part for each in texts for part in str(each).split(",")]
    return tuple(dict.fromkeys(name for part in parts if (name := part.strip())))


def weights_options(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The options, other than the defaults, with which the weights of a run were read."""
    options = {name: False for name in ("strict", "ema") if weights.get(name) is False}
    return {"scheme": weights["scheme"], **options} if weights.get("scheme_given") else options


def weights_text(weights: Mapping[str, Any]) -> str:
    """The weights of a run and their options as on the command line."""
    options = [
        f"--no-{name}" if value is False else f"--{name} {value}"
        for name, value in weights_options(weights).items()
    ]
    return " ".join([f"--weights {shlex.quote(weights['source'])}", *options])
