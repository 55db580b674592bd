"""How to reproduce a run: the command that trained it, or an equivalent one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError
from reslab.data.loading import TEST
from reslab.runs.fields import unread
from reslab.runs.options import TrainingOptions, weights_options
from reslab.runs.papers import RECIPES
from reslab.runs.recipe import Recipe, change, to_json
from reslab.spec import Network
from reslab.spec.transforms import with_classes
from reslab.zoo import NETWORKS

DEFAULTS: Mapping[str, Any] = {  # recorded options of `train` that change the result
    name: getattr(TrainingOptions, name)
    for name in (
        "precision",
        "seed",
        "balance",
        "class_weights",
        "freeze_bn",
        "recalibrate_bn",
        "keep_checkpoints",
        "jit_compile",
        "keep_seen",
    )
}


def training_command(path: Path, info: Mapping[str, Any], network: Network) -> str:
    """Return the command that trains the run again.

    For a run that was trained from Python it is an equivalent command, or, where the network or
    the recipe has no name, the Python call.
    """
    if info.get("command"):
        return str(info["command"])
    provenance = info.get("data", {}).get("provenance", {})
    options = {k: info[k] for k, default in DEFAULTS.items() if info.get(k, default) != default}
    names = "size", "channels", "skip_bad", "group"
    options |= {k: provenance[k] for k in names if provenance.get(k)}
    if (test := provenance.get("test", TEST)) != TEST:
        options["test"] = test or "none"
    if info.get("weights"):
        options |= {"weights": info["weights"]["source"], **weights_options(info["weights"])}
    source = str(provenance.get("source", info.get("data", {}).get("source")))
    recipe = info.get("recipe", {})
    base = RECIPES.get(str(recipe.get("name")))
    columns = provenance.get("columns", {})
    if base is not None and _is_from_zoo(network):
        options |= {_table_option(kind): name for kind, name in columns.items()}
        changes = [f"--set {name}={_text(value)}" for name, value in _changes(base, recipe).items()]
        return " ".join(
            [
                f"reslab train {network.name} --data {shlex.quote(source)} --recipe {base.name}",
                *changes,
                *(text for name, value in options.items() for text in _options(name, value)),
            ]
        )
    options |= {"columns": columns} if columns else {}
    net = repr(network.name) if _is_from_zoo(network) else f"Run.open({str(path)!r}).network"
    recipe_text = repr(base.name) if base else f"Recipe(**{dict(recipe)!r})"
    if base and (changes_ := _changes(base, recipe)):
        options = {"changes": changes_, **options}
    keywords = [f"{name}={value!r}" for name, value in options.items()]
    return f"reslab.train({', '.join([net, repr(source), recipe_text, *keywords])})"


def _is_from_zoo(network: Network) -> bool:
    """Whether the network is the one of its name in the zoo, for these images and classes."""
    original = NETWORKS.get(network.name)
    if original is None or network.classes is None:
        return False
    return (
        replace(with_classes(original, network.classes), input_shape=network.input_shape) == network
    )


def _changes(base: Recipe, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that differ from the base, where that has an effect: `train` refuses the others.

    Of `epochs` and `steps` only the one that is set.
    """
    defaults = to_json(base)
    differing = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in recipe.items()
        if name in defaults and _plain(defaults[name]) != _plain(value)
    }
    changes = {k: v for k, v in differing.items() if v or k not in ("epochs", "steps")}
    try:
        changed = change(base, changes)
    except UserError:  # a field of another version of reslab
        return changes
    return {k: v for k, v in changes.items() if not unread(changed, k)}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _text(value: Any) -> str:
    return shlex.quote(",".join(map(str, value)) if isinstance(value, tuple) else str(value))


def _table_option(kind: str) -> str:
    """The option that names a column of this kind, as `_options` writes it."""
    return kind if kind.startswith("label_") else f"{kind}_column"


def _options(name: str, value: Any) -> list[str]:
    """An option as on the command line; one for each class of a mapping of weights."""
    if isinstance(value, Mapping):
        values = [f"{key}={weight:g}" for key, weight in value.items()]
        return [f"--class-weight {shlex.quote(text)}" for text in values]
    option = f"--{name.replace('_', '-')}"
    if value is False:
        return [f"--no-{name}"]
    value = "x".join(map(str, value)) if isinstance(value, list | tuple) else value
    return [option if value is True else f"{option} {shlex.quote(str(value))}"]
