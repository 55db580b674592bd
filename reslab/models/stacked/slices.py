"""Single layers of a stacked network, by the names that they have in a network without stacks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from reslab.models.stacked.layer import Stacked


@dataclass(frozen=True)
class Slice:
    """One unit's slice of a stacked variable, which can be read and assigned like a variable.

    To read or assign many, use `read` and `assign`, which copy each stacked variable once.
    """

    whole: Any
    index: int
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.whole.shape[1:])

    @property
    def dtype(self) -> str:
        return self.whole.dtype

    @property
    def trainable(self) -> bool:
        return self.whole.trainable

    @property
    def value(self) -> Any:
        return self.whole.value[self.index]

    def numpy(self) -> np.ndarray:
        return np.array(keras.ops.convert_to_numpy(self.value))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def assign(self, value: Any) -> None:
        assign({self.name: self}, {self.name: value})


def holders(model: keras.Model) -> list[Stacked]:
    """The layers of stacked units in a model and in the models inside it."""
    stacked_layers: list[Stacked] = []
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            stacked_layers += holders(layer)
        elif isinstance(layer, Stacked):
            stacked_layers.append(layer)
    return stacked_layers


def variables(model: keras.Model) -> dict[str, Any]:
    """All variables of a model by `layer/variable`, as slices where units are stacked.

    The variables of a model inside have its name in front.
    """
    named: dict[str, Any] = {}
    for layer in model.layers:
        if isinstance(layer, Stacked):
            named.update(_slices(layer))
        elif isinstance(layer, keras.Function | keras.Sequential):
            named |= {f"{layer.name}/{path}": v for path, v in variables(layer).items()}
        else:
            named |= {f"{layer.name}/{v.name}": v for v in layer.variables}
    return named


def _slices(layer: Stacked) -> Iterator[tuple[str, Slice]]:
    for unit in range(layer.stack.times):
        for whole, leaf, name in layer.wholes:
            yield layer.stack.address(unit, leaf, name), Slice(whole, unit, name)


def read(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The values of variables and slices; each stacked variable is converted once."""
    wholes: dict[int, np.ndarray] = {}
    arrays = {}
    for name, v in variables.items():
        if isinstance(v, Slice):
            if id(v.whole) not in wholes:
                wholes[id(v.whole)] = np.asarray(keras.ops.convert_to_numpy(v.whole))
            arrays[name] = wholes[id(v.whole)][v.index]
        else:
            arrays[name] = np.asarray(keras.ops.convert_to_numpy(v))
    return arrays


def assign(variables: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Assign arrays to variables and slices by name; each stacked variable is assigned once.

    Raises ValueError where a shape differs, KeyError where there is no such variable.
    """
    parts: dict[int, list[tuple[Slice, Any]]] = {}
    for name, array in arrays.items():
        v = variables[name]
        if not isinstance(v, Slice):
            v.assign(array)
            continue
        array = np.asarray(keras.ops.convert_to_numpy(array))
        if tuple(array.shape) != v.shape:
            raise ValueError(f"{name} has shape {v.shape}, not {tuple(array.shape)}")
        parts.setdefault(id(v.whole), []).append((v, array))
    for slices in parts.values():
        whole = slices[0][0].whole
        values = np.array(keras.ops.convert_to_numpy(whole))
        for v, array in slices:
            values[v.index] = array
        whole.assign(values)
