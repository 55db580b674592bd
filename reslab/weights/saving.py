"""Save the weights of a model under the names of any library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab.core.errors import UserError
from reslab.models import saved, stacked
from reslab.models.build import variables
from reslab.models.finite import not_finite
from reslab.spec import Layer, Network
from reslab.spec.serialize import encode_network
from reslab.weights import files, h5, keras_order, transfer
from reslab.weights.layer_paths import parse_layer_paths
from reslab.weights.schemes import RESLAB, map_variables, scheme


def save(
    model: keras.Model,
    path: str | Path,
    scheme: str = "reslab",
    network: str | Network | None = None,
) -> None:
    """Save a model's weights under the names of a library.

    Adapters (LoRA) are merged into the kernels.

    All formats but `.pth` also store the network, the preprocessing and the class names. The file
    is written atomically.

    Args:
        model: A model of `reslab.create`, or any Keras model with the same variables.
        path: The file to write. Its suffix selects the format: `.safetensors`, `.pth`, `.pt`,
            `.weights.h5`, `.h5`, or `.keras` for the whole model.
        scheme: The library whose names the file has: "reslab", "torchvision", "timm", "keras"
            (keras.applications) or "keras_hub". A `.keras` file has reslab's names.
        network: The name of the model's network, or a `Network`. Needed only for a model that
            cannot be identified, see `about`.

    Raises:
        UserError: The library has no such network, the model is quantised, a weight is not finite,
            or the file cannot be written.
    """
    info = transfer.about(model, network)
    layers = transfer.layers_of(model, info.network)
    arrays = effective_arrays(model)
    path = Path(path)
    if path.name.endswith(".keras"):
        if scheme != RESLAB.name:
            raise UserError(
                f"a .keras file holds a whole model, under reslab's names; for {scheme} names "
                "write .weights.h5 or .safetensors"
            )
        saved.save(model, path, make_note(info, scheme), h5.KERAS_NOTE)
        return
    as_built = scheme == RESLAB.name and not stacked.holders(model)
    layer_order = [layer.name for layer in model.layers] if as_built else None
    write_weights(path, layers, arrays, scheme, make_note(info, scheme), layer_order)


def write_weights(
    path: str | Path,
    layers: Sequence[Layer],
    arrays: Mapping[str, np.ndarray],
    scheme_name: str,
    note: Mapping[str, Any],
    layer_order: Sequence[str] | None = None,
) -> None:
    """Write reslab's arrays (by `layer/variable`) under the names of a library.

    `layer_order` has the layer paths in the order of the Keras model, if it is known.
    """
    check_arrays(arrays)
    target = scheme(scheme_name)
    by_layer: dict[str, dict[str, np.ndarray]] = {}
    for name, mapping in map_variables(target, layers).items():
        if mapping.ours in arrays:
            layer = mapping.ours.rpartition("/")[0]
            by_layer.setdefault(layer, {})[name] = mapping.to_theirs(arrays[mapping.ours])
    if str(path).endswith(".h5"):  # Keras reads layers by their order
        order = layer_order or keras_order.by_depth(layers, shortcut_first=target is not RESLAB)
        by_layer = {layer: by_layer[layer] for layer in order if layer in by_layer}
    named = {name: array for group in by_layer.values() for name, array in group.items()}
    nest = partial(target.nest, parse_layer_paths(layers)) if target.nest else None
    files.write(path, named, note, nest)


def check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """Raise UserError for weights that nobody else should get."""
    if name := not_finite(arrays):
        raise UserError(
            f"{name} has values that are not finite (NaN or infinity): the training diverged, and "
            "nothing is written; take weights of an earlier step"
        )


def make_note(info: transfer.About, scheme_name: str) -> dict[str, Any]:
    """The note that a weight file carries: scheme, network, preprocessing and class names."""
    note: dict[str, Any] = {"scheme": scheme_name, "network": encode_network(info.network)}
    if info.preprocessing:
        note["preprocessing"] = info.preprocessing.encode()
    if info.classes:
        note["classes"] = list(info.classes)
    return note


def effective_arrays(model: keras.Model) -> dict[str, np.ndarray]:
    """All variables of a model as arrays, kernels with the adapters (LoRA) that add to them."""
    by_name = variables(model)
    adapters = transfer.adapter_variables(by_name)
    arrays = stacked.read({n: v for n, v in by_name.items() if n not in adapters})
    for layer in transfer.adapted_layers(model):
        arrays[f"{layer.name}/kernel"] = keras.ops.convert_to_numpy(layer.kernel)
    return arrays
