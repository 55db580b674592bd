"""How to get a run again: the command that made it, or one that says the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reslab.runs.options import TrainingOptions
from reslab.runs.papers import RECIPES
from reslab.runs.recipe import Recipe, to_json
from reslab.spec import Network
from reslab.spec.transforms import with_classes
from reslab.zoo import NETWORKS

TRAINED: Mapping[str, Any] = {  # recorded options of `train` that change the result: defaults
    name: getattr(TrainingOptions, name)
    for name in (
        "precision",
        "seed",
        "balance",
        "freeze_bn",
        "recalibrate_bn",
        "keep_checkpoints",
        "jit_compile",
    )
}


def again(path: Path, info: Mapping[str, Any], network: Network) -> str:
    """The command as it was given; for a run made in Python one that does the same, or, where no
    command can say it (a network or a recipe of one's own), the call."""
    if info.get("command"):
        return str(info["command"])
    given = info.get("data", {}).get("provenance", {})
    options = {k: info[k] for k, usual in TRAINED.items() if info.get(k, usual) != usual}
    options |= {k: given[k] for k in ("size", "skip_bad") if given.get(k)}
    if info.get("weights"):
        options["weights"] = info["weights"]["source"]
    source = str(given.get("source", info.get("data", {}).get("source")))
    recipe = info.get("recipe", {})
    base = RECIPES.get(str(recipe.get("name")))
    if base is not None and _of_the_zoo(network):
        changes = [f"--set {name}={_text(value)}" for name, value in _changes(base, recipe).items()]
        return " ".join(
            [
                f"reslab train {network.name} --data {shlex.quote(source)} --recipe {base.name}",
                *changes,
                *(_option(name, value) for name, value in options.items()),
            ]
        )
    net = repr(network.name) if _of_the_zoo(network) else f"Run.open({str(path)!r}).network"
    how = repr(base.name) if base else f"Recipe(**{dict(recipe)!r})"
    if base and (changed := _changes(base, recipe)):
        options = {"changes": changed, **options}
    words = [net, repr(source), how, *(f"{name}={value!r}" for name, value in options.items())]
    return f"reslab.train({', '.join(words)})"


def _of_the_zoo(network: Network) -> bool:
    """Whether the name is enough: the zoo's network, for these images and classes, is the same."""
    known = NETWORKS.get(network.name)
    if known is None or network.classes is None:
        return False
    return replace(with_classes(known, network.classes), input_shape=network.input_shape) == network


def _changes(base: Recipe, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that differ from the base's; of length what is set, for it unsets the other."""
    own = to_json(base)
    differ = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in recipe.items()
        if name in own and _plain(own[name]) != _plain(value)
    }
    return {k: v for k, v in differ.items() if v or k not in ("epochs", "steps")}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    return shlex.quote(",".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _option(name: str, value: Any) -> str:
    word = f"--{name.replace('_', '-')}"
    return word if value is True else f"{word} {shlex.quote(str(value))}"
