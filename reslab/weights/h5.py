"""Keras's files of weights: `.weights.h5`, the same inside `.keras`, and the older `.h5`.

Keras 3 keeps `.../conv2d_3/vars/0` with the layer's name as an attribute of `vars`; the older
format keeps `conv1_conv/conv1_conv/kernel:0`. Read with h5py alone: no model is built.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from reslab.core.errors import UserError
from reslab.spec import stacks as repeats

BN = "gamma", "beta", "moving_mean", "moving_variance"
OTHER = "kernel", "bias"
NOTE = "reslab"  # what the file says of itself: JSON, in bytes, for attributes end at 64 KB
_OLD = {  # Keras 1's `block1_conv1_W_1:0` and the like
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}


def read_file(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    return _read(path, path)


def read_keras(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """The weights in a `.keras` file; its description of a model is passed over, but for what it
    says of stacked units: their weights come layer by layer."""
    try:
        with zipfile.ZipFile(path) as file:
            weights = io.BytesIO(file.read("model.weights.h5"))
            note = "reslab-weights.json"
            said = json.loads(file.read(note)) if note in file.namelist() else {}
            stacks = _stacks(json.loads(file.read("config.json")))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, OSError):
        raise UserError(f"{path} is not a .keras file, or is damaged") from None
    arrays, inside = _read(path, weights, stacks)
    return arrays, said or inside


def _stacks(config: Any) -> dict[str, repeats.Stack]:
    """The stacked units in a model's description, by the names of their layers."""
    if isinstance(config, list):
        return {k: v for each in config for k, v in _stacks(each).items()}
    if not isinstance(config, dict):
        return {}
    if config.get("registered_name") == "reslab>Stacked":
        return {config["config"]["name"]: repeats.decode(config["config"]["stack"])}
    return _stacks(list(config.values()))


def _read(
    path: Path, file: Path | IO[bytes], stacks: Mapping[str, repeats.Stack] | None = None
) -> tuple[dict[str, np.ndarray], Any]:
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            note = json.loads(bytes(opened[NOTE][()])) if NOTE in opened else {}
            new = any(
                name in opened for name in ("layers", "vars", "_layer_checkpoint_dependencies")
            )
            arrays = _keras3(opened, stacks or {}) if new else _by_layer(opened)
            return arrays, note
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        text = str(error).splitlines() or [type(error).__name__]
        raise UserError(f"{path} is not a file of Keras's, or is damaged: {text[0]}") from None


def _keras3(file: Any, stacks: Mapping[str, repeats.Stack]) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}

    def visit(path: str, item: Any) -> None:
        group, _, index = path.rpartition("/")
        if path.startswith("optimizer") or path == NOTE or not hasattr(item, "shape"):
            return
        parent, _, last = group.rpartition("/")
        if last != "vars":
            raise UserError(f"{path} is not where Keras keeps weights")
        kind = parent.rpartition("/")[2]
        name = file[group].attrs.get("name", parent)  # older ones have no names: see `groups`
        if kind.startswith(("seed_generator", "normalization")):
            return
        if name in stacks:
            _put_slices(found, stacks[name], int(index), item)
            return
        words = BN if kind.startswith("batch_normalization") else OTHER
        variable = words[int(index)] if int(index) < len(words) else index
        _put(found, f"{name}/{variable}", item)

    file.visititems(visit)
    return found


def _put_slices(found: dict[str, np.ndarray], stack: repeats.Stack, i: int, item: Any) -> None:
    """What a variable of stacked units has of each unit's layer; no states of generators."""
    leaf, variable = stack.variables[i]
    if variable == "seed_generator_state":
        return
    whole: dict[str, np.ndarray] = {}
    _put(whole, "all", item)
    for unit, array in zip(range(stack.times), whole["all"], strict=True):
        found[stack.address(unit, leaf, variable)] = array


def _by_layer(file: Any) -> dict[str, np.ndarray]:
    """Keras 1's and 2's layout: groups by layer, each with a list of its weights' names."""
    root = file.get("model_weights", file)
    found: dict[str, np.ndarray] = {}
    for layer in _words(root.attrs["layer_names"]):
        for weight in _words(root[layer].attrs["weight_names"]):
            inside, _, variable = weight.removesuffix(":0").rpartition("/")
            if old := re.fullmatch(rf"(.+)_({'|'.join(_OLD)})(_\d+)?", variable):
                variable = _OLD[old[2]]
            # one name inside the group: the layer's; several: those of a model in the model
            nested = inside and "/" not in inside and not inside.startswith(layer)
            _put(found, f"{inside if nested else layer}/{variable}", root[layer][weight])
    return found


def _words(attribute: Any) -> list[str]:
    return [w.decode() if isinstance(w, bytes) else str(w) for w in attribute]


def _put(found: dict[str, np.ndarray], name: str, item: Any) -> None:
    if name in found:
        raise UserError(f"it has two variables {name}")
    if item.dtype.hasobject or item.external or item.is_virtual:
        raise UserError(f"{name} is not an array of numbers in the file itself: it is not read")
    found[name] = item[()]


# Writing ----------------------------------------------------------------------------------------


def _layers(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, {})[variable] = array
    return layers


def write_weights(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    note: Mapping[str, Any],
    nest: Callable[[str], Sequence[str]] | None = None,
) -> None:
    """As `keras.Model.save_weights` of Keras 3 does: `layers/conv2d_3/vars/0`.

    Layers come in the order of their model; `nest` names the models that a layer lies in.
    """
    import h5py

    layers = _layers(arrays)
    places = groups({layer: _class(variables)[0] for layer, variables in layers.items()}, nest)
    with h5py.File(path, "w") as file:
        _put_note(file, note)
        for layer, variables in layers.items():
            group = file.create_group(f"{places[layer]}/vars")
            group.attrs["name"] = layer
            words = (word for word in _class(variables)[1] if word in variables)
            for i, word in enumerate(words):
                group[str(i)] = np.ascontiguousarray(variables[word])


def _put_note(file: Any, note: Mapping[str, Any]) -> None:
    file[NOTE] = np.frombuffer(json.dumps(note).encode(), "uint8")


def groups(
    classes: Mapping[str, str], nest: Callable[[str], Sequence[str]] | None = None
) -> dict[str, str]:
    """Where Keras 3 puts each layer, given their classes in the order of the model."""
    seen: Counter[str] = Counter()
    found = {}
    for layer, kind in classes.items():
        place = "/".join(f"layers/{outer}" for outer in (nest(layer) if nest else ()))
        place = f"{place}/layers/{kind}".lstrip("/")
        found[layer] = f"{place}_{seen[place]}" if seen[place] else place
        seen[place] += 1
    return found


def _class(variables: Mapping[str, np.ndarray]) -> tuple[str, tuple[str, ...]]:
    if "gamma" in variables:
        return "batch_normalization", BN
    return "conv2d" if variables["kernel"].ndim == 4 else "dense", OTHER


def write_by_layer(path: Path, arrays: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> None:
    """The older layout, which `keras.applications` takes as `weights=`, by order of layers."""
    import h5py

    with h5py.File(path, "w") as file:
        layers = _layers(arrays)
        file.attrs["layer_names"] = np.array(list(layers), dtype="S")
        file.attrs["backend"], file.attrs["keras_version"] = b"reslab", b"3"
        _put_note(file, note)
        for layer, variables in layers.items():
            words = [word for word in _class(variables)[1] if word in variables]
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/{w}:0" for w in words], dtype="S")
            for word in words:
                group[f"{layer}/{word}:0"] = np.ascontiguousarray(variables[word])
