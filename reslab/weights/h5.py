"""Keras's weight files: `.weights.h5`, the same file inside a `.keras` file, and the older `.h5`.

Keras 3 stores `.../conv2d_3/vars/0`, with the layer's name as an attribute of `vars`. The older
format stores `conv1_conv/conv1_conv/kernel:0`. Files are read with h5py; no model is built.
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

from reslab.core import hdf5, limits, records
from reslab.core.errors import DAMAGE, UserError, one_line
from reslab.spec import stacks

BN_VARIABLES = "gamma", "beta", "moving_mean", "moving_variance"
KERNEL_VARIABLES = "kernel", "bias"
KERAS_NOTE = "reslab-weights.json"  # the member of a .keras file with reslab's note
# The dataset of an .h5 file with reslab's note: JSON as bytes, since attributes end at 64 KB.
H5_NOTE = "reslab"
_KERAS_1_VARIABLES = {  # as in `block1_conv1_W_1:0`
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}


def read_file(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays and the note of an `.h5` file."""
    return _read(path, path)


def read_keras(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays and the note of a `.keras` file.

    Of the model's configuration only stacked units are used: their weights are read layer by
    layer.
    """
    try:
        with zipfile.ZipFile(path) as file:
            limits.check_archive(path, file)
            weights = io.BytesIO(file.read("model.weights.h5"))
            note = records.parse(file.read(KERAS_NOTE)) if KERAS_NOTE in file.namelist() else {}
            config = records.parse(file.read("config.json"))
            stacked_units, names = _stacks(config), names_of_groups(config)
    except (zipfile.BadZipFile, zlib.error, OSError, RecursionError, NotImplementedError, *DAMAGE):
        raise UserError(f"{path} is not a .keras file, or is damaged") from None
    arrays, h5_note = _read(path, weights, stacked_units, names)
    return arrays, note or h5_note


def _stacks(config: Any) -> dict[str, stacks.Stack]:
    """The stacked units in a model's configuration, by the names of their layers."""
    if isinstance(config, list):
        return {name: stack for item in config for name, stack in _stacks(item).items()}
    if not isinstance(config, dict):
        return {}
    if config.get("registered_name") == "reslab>Stacked":
        return {config["config"]["name"]: stacks.decode(config["config"]["stack"])}
    return _stacks(list(config.values()))


def _read(
    path: Path,
    file: Path | IO[bytes],
    stacked_units: Mapping[str, stacks.Stack] | None = None,
    names: Mapping[str, str] | None = None,
) -> tuple[dict[str, np.ndarray], Any]:
    import h5py

    try:
        with h5py.File(file, "r") as root:
            hdf5.check(path, root)
            note = records.parse(bytes(root[H5_NOTE][()])) if H5_NOTE in root else {}
            keras_3 = any(
                name in root for name in ("layers", "vars", "_layer_checkpoint_dependencies")
            )
            arrays = (
                _read_keras_3(root, stacked_units or {}, names or {})
                if keras_3
                else _read_by_layer(root)
            )
            return arrays, note
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(path)) else f"{path}: {text}") from None
    except (OSError, RuntimeError, MemoryError, SystemError, *DAMAGE) as error:
        text = one_line(error) or type(error).__name__
        raise UserError(f"{path} is not a Keras weight file, or is damaged: {text}") from None


def names_of_groups(config: Any, prefix: str = "") -> dict[str, str]:
    """The names of layers by their groups in the weights, from the configuration of a model.

    As Keras names the groups: `layers/conv2d_3` is the fourth layer of the class Conv2D.
    """
    layers = config.get("config", {}).get("layers", []) if isinstance(config, dict) else []
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for layer in layers:
        kind = str(layer["class_name"]).rpartition(">")[2]
        kind = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", kind))
        kind = re.sub(r"([a-z])([A-Z])", r"\1_\2", kind).lower()
        group = f"{prefix}layers/{kind}" + (f"_{counts[kind]}" if counts[kind] else "")
        counts[kind] += 1
        names[group] = str(layer["config"]["name"])
        names |= names_of_groups(layer, f"{group}/")
    return names


def _read_keras_3(
    root: Any, stacked_units: Mapping[str, stacks.Stack], names: Mapping[str, str]
) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}

    def visit(path: str, item: Any) -> None:
        group, _, index = path.rpartition("/")
        if path.startswith("optimizer") or path == H5_NOTE or not hasattr(item, "shape"):
            return
        parent, _, last = group.rpartition("/")
        if last != "vars":
            raise UserError(f"{path} is not where Keras stores weights")
        kind = parent.rpartition("/")[2]
        # older files have no names: see `groups`
        key = parent.replace("_layer_checkpoint_dependencies", "layers")
        name = root[group].attrs.get("name") or names.get(key, key)
        if kind.startswith(("seed_generator", "normalization")):
            return
        if name in stacked_units:
            _add_unstacked(arrays, stacked_units[name], int(index), item)
            return
        variables = BN_VARIABLES if kind.startswith("batch_normalization") else KERNEL_VARIABLES
        variable = variables[int(index)] if int(index) < len(variables) else index
        _add(arrays, f"{name}/{variable}", item)

    root.visititems(visit)
    return arrays


def _add_unstacked(arrays: dict[str, np.ndarray], stack: stacks.Stack, i: int, item: Any) -> None:
    """Add the slices of a stacked variable, one per unit; generator states are skipped."""
    leaf, variable = stack.variables[i]
    if variable == "seed_generator_state":
        return
    stacked: dict[str, np.ndarray] = {}
    _add(stacked, "stacked", item)
    for unit, array in zip(range(stack.times), stacked["stacked"], strict=True):
        arrays[stack.address(unit, leaf, variable)] = array


def _read_by_layer(file: Any) -> dict[str, np.ndarray]:
    """The layout of Keras 1 and 2: one group per layer, which lists the names of its weights."""
    root = file.get("model_weights", file)
    arrays: dict[str, np.ndarray] = {}
    for layer in _strings(root.attrs["layer_names"]):
        for weight in _strings(root[layer].attrs["weight_names"]):
            inner, _, variable = weight.removesuffix(":0").rpartition("/")
            if match := re.fullmatch(rf"(.+)_({'|'.join(_KERAS_1_VARIABLES)})(_\d+)?", variable):
                variable = _KERAS_1_VARIABLES[match[2]]
            # one name within the group is the layer's; several are those of a nested model
            nested = inner and "/" not in inner and not inner.startswith(layer)
            _add(arrays, f"{inner if nested else layer}/{variable}", root[layer][weight])
    return arrays


def _strings(attribute: Any) -> list[str]:
    return [item.decode() if isinstance(item, bytes) else str(item) for item in attribute]


def _add(arrays: dict[str, np.ndarray], name: str, item: Any) -> None:
    if name in arrays:
        raise UserError(f"two variables are named {name}")
    if item.dtype.hasobject or item.external or item.is_virtual:
        raise UserError(f"{name} is not an array of numbers in the file itself: it is not read")
    arrays[name] = item[()]


# Writing ----------------------------------------------------------------------------------------


def _by_layer(arrays: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
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
    """Write the format of `keras.Model.save_weights` in Keras 3: `layers/conv2d_3/vars/0`.

    The arrays are in the order of the layers of the model. `nest` returns the models that contain
    a layer.
    """
    import h5py

    layers = _by_layer(arrays)
    classes = {layer: _class_and_variables(variables)[0] for layer, variables in layers.items()}
    group_of = groups(classes, nest)
    with h5py.File(path, "w") as file:
        _write_note(file, note)
        for layer, variables in layers.items():
            group = file.create_group(f"{group_of[layer]}/vars")
            group.attrs["name"] = layer
            names = (name for name in _class_and_variables(variables)[1] if name in variables)
            for i, name in enumerate(names):
                group[str(i)] = np.ascontiguousarray(variables[name])


def _write_note(file: Any, note: Mapping[str, Any]) -> None:
    file[H5_NOTE] = np.frombuffer(json.dumps(note).encode(), "uint8")


def groups(
    classes: Mapping[str, str], nest: Callable[[str], Sequence[str]] | None = None
) -> dict[str, str]:
    """The group in which Keras 3 stores each layer, given the layers' classes in model order."""
    counts: Counter[str] = Counter()
    group_of = {}
    for layer, kind in classes.items():
        group = "/".join(f"layers/{outer}" for outer in (nest(layer) if nest else ()))
        group = f"{group}/layers/{kind}".lstrip("/")
        group_of[layer] = f"{group}_{counts[group]}" if counts[group] else group
        counts[group] += 1
    return group_of


def _class_and_variables(variables: Mapping[str, np.ndarray]) -> tuple[str, tuple[str, ...]]:
    if "gamma" in variables:
        return "batch_normalization", BN_VARIABLES
    return "conv2d" if variables["kernel"].ndim == 4 else "dense", KERNEL_VARIABLES


def write_by_layer(path: Path, arrays: Mapping[str, np.ndarray], note: Mapping[str, Any]) -> None:
    """Write the older layout, which keras.applications reads as `weights=` by order of layers."""
    import h5py

    with h5py.File(path, "w") as file:
        layers = _by_layer(arrays)
        file.attrs["layer_names"] = np.array(list(layers), dtype="S")
        file.attrs["backend"], file.attrs["keras_version"] = b"reslab", b"3"
        _write_note(file, note)
        for layer, variables in layers.items():
            names = [name for name in _class_and_variables(variables)[1] if name in variables]
            group = file.create_group(layer)
            group.attrs["weight_names"] = np.array([f"{layer}/{n}:0" for n in names], dtype="S")
            for name in names:
                group[f"{layer}/{name}:0"] = np.ascontiguousarray(variables[name])
