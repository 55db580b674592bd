"""A model as a chain of links, from which single units can be removed, or two swapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from reslab.acceleration.accelerate import accelerate
from reslab.models.scopes import without_gradients
from reslab.spec import Gate
from reslab.studies.units import Unit, closing_layer, swappable

Tensor = Any
WHOLE = ("whole", "")


@dataclass(frozen=True, eq=False)
class Link:
    """A part of a model that maps one tensor to one tensor: a unit, or the layers between units."""

    model: keras.Model
    unit: Unit | None
    closing: Any = None  # the layer of a residual unit's body whose weights are zeroed

    def __call__(self, x: Tensor) -> Tensor:
        return self.model(x, training=False)

    def without_unit(self, x: Tensor) -> Tensor | None:
        """Return the output with the unit removed; None where it cannot be removed."""
        if self.unit is None or why_not_removable(self.unit):
            return None
        if not self.unit.residual:
            return x
        with zeroed(self.closing):
            return self(x)


def why_not_removable(unit: Unit) -> str | None:
    """Return why a unit cannot be removed; None where it can."""
    if unit.residual:
        if closing_layer(unit):
            return None
        return "its last layer has no weights that make the body zero"
    return None if unit.keeps_shape else "without a shortcut, its change of shape would be missing"


def chain(model: keras.Model, units: Sequence[Unit]) -> list[Link]:
    """Return the model as links, which share its layers and weights."""
    links: list[Link] = []
    parts = {layer.path: layer.part for unit in units for layer in unit.layers}

    def add(start: str, end: str | None, unit: Unit | None = None) -> None:
        first = _tensor(model, start, parts)
        last = model.output if end is None else _tensor(model, end, parts)
        closing = closing_layer(unit) if unit is not None and unit.residual else None
        layer = None if closing is None else model.get_layer(closing.path)
        links.append(Link(accelerate(keras.Model(first, last)), unit, layer))

    position = ""
    for unit in units:
        if unit.start != position:
            add(position, unit.start)
        add(unit.start, unit.end, unit)
        position = unit.end
    add(position, None)
    return links


def _tensor(model: keras.Model, path: str, parts: dict[str, Any]) -> Tensor:
    """The output of the layer at a path of the network; "" is the image."""
    if not path:
        transposes = [layer for layer in model.layers if layer.name == "to_channels_last"]
        return transposes[0].output if transposes else model.input
    part = parts.get(path)
    if isinstance(part, Gate):  # several Keras layers; this is the last
        path += "_sum" if part.of == "exclusive" else "_difference"
    return model.get_layer(path).output


@contextmanager
def zeroed(layer: Any) -> Iterator[None]:
    """Set the weights of a layer (scale and shift, or kernel and bias) to zero in the block."""
    values = [(v, keras.ops.copy(v.value)) for v in layer.trainable_variables]
    try:
        for v, value in values:
            v.assign(keras.ops.zeros_like(value))
        yield
    finally:
        for v, value in values:
            v.assign(value)


def lesioned(links: Sequence[Link], x: np.ndarray) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Yield the logits of a batch for every lesion, and those of the whole network last.

    The keys are ("removed", unit), ("swapped", unit) and `WHOLE`. The layers before a unit are
    computed once for all lesions.
    """
    with without_gradients():
        here = keras.ops.convert_to_tensor(x)
        for i, link in enumerate(links):
            if link.unit is not None:
                removed = link.without_unit(here)
                if removed is not None:
                    yield ("removed", link.unit.name), _logits(links[i + 1 :], removed)
                after = links[i + 1]
                if after.unit is not None and swappable(link.unit, after.unit):
                    swapped = link(after(here))
                    yield ("swapped", link.unit.name), _logits(links[i + 2 :], swapped)
            here = link(here)
        yield WHOLE, _numpy(here)


def _logits(links: Sequence[Link], x: Tensor) -> np.ndarray:
    for link in links:
        x = link(x)
    return _numpy(x)


def _numpy(x: Tensor) -> np.ndarray:
    return np.asarray(keras.ops.convert_to_numpy(x), "float32")
