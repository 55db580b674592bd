"""From our tensors to a library's: names, axes and the order of flattened maps.

A scheme is a function from stable paths to the library's names for the same layers; all else is
the same for every net of a library. Nothing here knows a network by name (standard library, numpy).
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
from reslab.weights.layer_paths import Place, places

TORCH = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
KERAS = {name: name for name in TORCH}


class AsConv(str):
    """A full connection that the library has as a convolution: its name."""


Names = Mapping[str, str]  # our path -> their layer


@dataclass(frozen=True)
class Scheme:
    """`names` is given every place of a network, in order, and names the layers with weights."""

    name: str
    library: str
    names: Callable[[Sequence[Place]], Names] | None  # None: our paths themselves
    torch: bool = False  # axes, variables and flattened maps as Torch has them, else as Keras
    ignored: tuple[str, ...] = ()  # names that begin or end like this belong to no layer
    rename: Callable[[str], str] = str  # from a name in an older file to today's
    nest: Callable[[Sequence[Place], str], tuple[str, ...]] | None = None  # models it lies in


@dataclass(frozen=True)
class Tensor:
    """One of our variables and its counterpart, with the shapes of both."""

    ours: str  # layer/variable
    shape: tuple[int, ...]
    theirs: str
    their_shape: tuple[int, ...]
    dense: bool
    torch: bool
    flat: tuple[str, Maps] | None  # our order of the flattened maps before it, and the maps

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """`array` has `their_shape`."""
        if len(self.shape) < 2:
            return array
        if not self.dense:
            return array.transpose(2, 3, 1, 0) if self.torch else array
        if self.torch:
            array = array.reshape(len(array), -1).T
        return self._rows(array, "chw" if self.torch else "hwc", back=False)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        if len(self.shape) < 2:
            return array
        if not self.dense:
            return array.transpose(3, 2, 0, 1) if self.torch else array
        array = self._rows(array, "chw" if self.torch else "hwc", back=True)
        return (array.T if self.torch else array).reshape(self.their_shape)

    def _rows(self, array: np.ndarray, theirs: str, back: bool) -> np.ndarray:
        """The rows of a kernel behind flattened maps, put in our order (`back`: in theirs)."""
        if self.flat is None or self.flat[0] == theirs:
            return array
        ours, maps = self.flat
        old, new = (ours, theirs) if back else (theirs, ours)
        sizes = {"h": maps.height, "w": maps.width, "c": maps.channels}
        apart = array.reshape(*(sizes[axis] or 1 for axis in old), array.shape[1])
        return apart.transpose(*(old.index(axis) for axis in new), 3).reshape(array.shape)


def tensors(scheme: Scheme, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """Every variable of the network by its counterpart's name.

    Raises UserError where the library has no net like this one.
    """
    names = scheme.names(places(layers)) if scheme.names else {x.path: x.path for x in layers}
    by_path = {layer.path: layer for layer in layers}
    found: dict[str, Tensor] = {}
    for layer in layers:
        shapes = {**layer.weights, **layer.state}
        if not shapes:
            continue
        name = names.get(layer.path)
        if name is None:
            raise UserError(f"{scheme.library} has no net like this: no name for {layer.path}")
        for variable, shape in shapes.items():
            tensor = _tensor(scheme, layer, name, variable, shape, by_path)
            if tensor.theirs in found:
                raise UserError(
                    f"{scheme.library} has no net like this: {found[tensor.theirs].ours} and "
                    f"{tensor.ours} would both be {tensor.theirs}"
                )
            found[tensor.theirs] = tensor
    return found


def _tensor(
    scheme: Scheme,
    layer: Layer,
    name: str,
    variable: str,
    shape: tuple[int, ...],
    by_path: Mapping[str, Layer],
) -> Tensor:
    dense = isinstance(layer.part, Dense)
    flat = _flattened(layer, by_path) if dense and variable == "kernel" else None
    theirs = shape
    if scheme.torch and len(shape) == 4:
        theirs = shape[3], shape[2], shape[0], shape[1]
    elif scheme.torch and len(shape) == 2:
        theirs = shape[1], shape[0]
        if isinstance(name, AsConv):
            maps = flat[1] if flat else Maps(1, 1, shape[0])
            theirs = shape[1], maps.channels, maps.height or 1, maps.width or 1
    join, words = (".", TORCH) if scheme.torch else ("/", KERAS)
    return Tensor(
        ours=f"{layer.path}/{variable}",
        shape=shape,
        theirs=f"{name}{join}{words[variable]}",
        their_shape=theirs,
        dense=dense,
        torch=scheme.torch,
        flat=flat,
    )


def _flattened(layer: Layer, by_path: Mapping[str, Layer]) -> tuple[str, Maps] | None:
    """The maps that were flattened to make this layer's input, and in which order."""
    before = by_path.get(layer.inputs[0])
    while before is not None and isinstance(before.part, Activation | Dropout):
        before = by_path.get(before.inputs[0])
    if before is None or not isinstance(before.part, Flatten):
        return None
    maps = before.in_shapes[0]
    assert isinstance(maps, Maps)
    return before.part.order, maps


def classifier(layers: Sequence[Layer]) -> str | None:
    """The path of the layer whose width is the number of classes."""
    heads = [x.path for x in layers if x.row == "head" and isinstance(x.part, Dense)]
    return heads[-1] if heads else None


OWN = Scheme("reslab", "reslab", None)
HOMES = {  # name -> module; the first that fits a file is taken
    "torchvision": "torchvision",
    "timm": "timm",
    "keras": "keras_applications",
    "keras_hub": "keras_hub",
}


@cache
def schemes() -> dict[str, Scheme]:
    """By name: reslab's own first."""
    found = {"reslab": OWN}
    for name, module in HOMES.items():
        found[name] = import_module(f"reslab.weights.names.{module}").SCHEME
    return found


def scheme(name: str) -> Scheme:
    """Raises UserError for a scheme that there is not, with the nearest one."""
    if name not in schemes():
        raise unknown("scheme of names", name, schemes())
    return schemes()[name]


def strided_1x1(layers: Sequence[Layer]) -> bool:
    """Whether a residual body strides in a 1x1: v1 as printed; Torch's libraries have v1.5."""
    return any(
        isinstance(x.part, Conv) and x.part.kernel == 1 and x.part.stride > 1 and "_body_" in x.path
        for x in layers
    )
