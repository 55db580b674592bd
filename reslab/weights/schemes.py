"""Naming schemes: how a library names and stores the variables of a network.

A scheme is a function from layer paths to the library's layer names. The axis order of kernels and
the order of flattened feature maps depend on the library only. No scheme contains the name of a
network. Needs only NumPy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import numpy as np

from reslab.core.errors import UserError, unknown
from reslab.spec import Activation, Conv, Dense, Dropout, Flatten, Layer
from reslab.spec.shapes import Maps
from reslab.weights.layer_paths import LayerPath, parse_layer_paths

TORCH_VARIABLES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
KERAS_VARIABLES = {name: name for name in TORCH_VARIABLES}


class AsConv(str):
    """The name of a layer that is dense in reslab and a convolution in the library."""


Names = Mapping[str, str]  # reslab's layer path -> the library's layer name


@dataclass(frozen=True)
class Scheme:
    """The names and storage conventions of one library.

    `names` takes the parsed layer paths of a network, in order of computation, and returns the
    names of its layers with weights; None: the paths themselves. `torch` selects PyTorch's axis
    orders and variable names instead of Keras's. Names in a file that start or end with one of
    `ignored` are skipped. `rename` maps names in older files to current ones. `nest` returns the
    models that contain a layer in a `.weights.h5` file.
    """

    name: str
    library: str
    names: Callable[[Sequence[LayerPath]], Names] | None
    torch: bool = False
    ignored: tuple[str, ...] = ()
    rename: Callable[[str], str] = str
    nest: Callable[[Sequence[LayerPath], str], tuple[str, ...]] | None = None


@dataclass(frozen=True)
class VariableMapping:
    """A variable of reslab and the library's tensor for it, with the names and shapes of both.

    `flattened` is set for the kernel of a dense layer after flattened feature maps: the order in
    which reslab's network flattens ("hwc" or "chw"), and the shape of the maps.
    """

    ours: str  # layer/variable
    shape: tuple[int, ...]
    theirs: str
    their_shape: tuple[int, ...]
    dense: bool
    torch: bool
    flattened: tuple[str, Maps] | None

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """Convert an array of `their_shape` to `shape`."""
        if len(self.shape) < 2:
            return array
        if not self.dense:
            return array.transpose(2, 3, 1, 0) if self.torch else array
        if self.torch:
            array = array.reshape(len(array), -1).T
        return self._reorder_rows(array, "chw" if self.torch else "hwc", reverse=False)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Convert an array of `shape` to `their_shape`."""
        if len(self.shape) < 2:
            return array
        if not self.dense:
            return array.transpose(3, 2, 0, 1) if self.torch else array
        array = self._reorder_rows(array, "chw" if self.torch else "hwc", reverse=True)
        return (array.T if self.torch else array).reshape(self.their_shape)

    def _reorder_rows(self, array: np.ndarray, theirs: str, reverse: bool) -> np.ndarray:
        """From the library's order of flattened maps to reslab's, or in reverse."""
        if self.flattened is None or self.flattened[0] == theirs:
            return array
        ours, maps = self.flattened
        old, new = (ours, theirs) if reverse else (theirs, ours)
        sizes = {"h": maps.height, "w": maps.width, "c": maps.channels}
        unflattened = array.reshape(*(sizes[axis] or 1 for axis in old), array.shape[1])
        return unflattened.transpose(*(old.index(axis) for axis in new), 3).reshape(array.shape)


def map_variables(scheme: Scheme, layers: Sequence[Layer]) -> dict[str, VariableMapping]:
    """Every variable of a network, by the library's name for it.

    Raises UserError if the library has no such network.
    """
    paths = {layer.path: layer.path for layer in layers}
    names = scheme.names(parse_layer_paths(layers)) if scheme.names else paths
    by_path = {layer.path: layer for layer in layers}
    mappings: dict[str, VariableMapping] = {}
    for layer in layers:
        shapes = {**layer.weights, **layer.state}
        if not shapes:
            continue
        name = names.get(layer.path)
        if name is None:
            raise UserError(f"{scheme.library} has no such network: no name for {layer.path}")
        for variable, shape in shapes.items():
            mapping = _map_variable(scheme, layer, name, variable, shape, by_path)
            if mapping.theirs in mappings:
                raise UserError(
                    f"{scheme.library} has no such network: {mappings[mapping.theirs].ours} and "
                    f"{mapping.ours} would both be named {mapping.theirs}"
                )
            mappings[mapping.theirs] = mapping
    return mappings


def _map_variable(
    scheme: Scheme,
    layer: Layer,
    name: str,
    variable: str,
    shape: tuple[int, ...],
    by_path: Mapping[str, Layer],
) -> VariableMapping:
    dense = isinstance(layer.part, Dense)
    flattened = _flattened(layer, by_path) if dense and variable == "kernel" else None
    their_shape = shape
    if scheme.torch and len(shape) == 4:
        their_shape = shape[3], shape[2], shape[0], shape[1]
    elif scheme.torch and len(shape) == 2:
        their_shape = shape[1], shape[0]
        if isinstance(name, AsConv):
            maps = flattened[1] if flattened else Maps(1, 1, shape[0])
            their_shape = shape[1], maps.channels, maps.height or 1, maps.width or 1
    separator, variables = (".", TORCH_VARIABLES) if scheme.torch else ("/", KERAS_VARIABLES)
    return VariableMapping(
        ours=f"{layer.path}/{variable}",
        shape=shape,
        theirs=f"{name}{separator}{variables.get(variable, variable)}",
        their_shape=their_shape,
        dense=dense,
        torch=scheme.torch,
        flattened=flattened,
    )


def _flattened(layer: Layer, by_path: Mapping[str, Layer]) -> tuple[str, Maps] | None:
    """The order of flattening and the maps, if the layer's input is flattened feature maps."""
    before = by_path.get(layer.inputs[0])
    while before is not None and isinstance(before.part, Activation | Dropout):
        before = by_path.get(before.inputs[0])
    if before is None or not isinstance(before.part, Flatten):
        return None
    maps = before.in_shapes[0]
    assert isinstance(maps, Maps)
    return before.part.order, maps


def classifier_path(layers: Sequence[Layer]) -> str | None:
    """The path of the dense layer that computes the logits; None if there is none."""
    heads = [x.path for x in layers if x.row == "head" and isinstance(x.part, Dense)]
    return heads[-1] if heads else None


RESLAB = Scheme("reslab", "reslab", None)
MODULES = {  # by scheme; the first scheme that fits a file is used
    "torchvision": "torchvision",
    "timm": "timm",
    "keras": "keras_applications",
    "keras_hub": "keras_hub",
}


@cache
def schemes() -> dict[str, Scheme]:
    """All schemes by name, reslab's first."""
    modules = {
        name: import_module(f"reslab.weights.names.{module}") for name, module in MODULES.items()
    }
    return {"reslab": RESLAB, **{name: module.SCHEME for name, module in modules.items()}}


def scheme(name: str) -> Scheme:
    """The scheme of this name. Raises UserError, with the most similar name, if there is none."""
    if name not in schemes():
        raise unknown("naming scheme", name, schemes())
    return schemes()[name]


def strides_in_1x1(layers: Sequence[Layer]) -> bool:
    """Whether a residual body strides in a 1x1 convolution.

    ResNet v1 as printed does; torchvision's and timm's ResNets are v1.5, which strides in the 3x3.
    """
    return any(
        isinstance(x.part, Conv) and x.part.kernel == 1 and x.part.stride > 1 and "_body_" in x.path
        for x in layers
    )
