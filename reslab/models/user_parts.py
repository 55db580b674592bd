"""The Keras layers of parts that users write, checked against what the parts say of themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from reslab.core.errors import UserError
from reslab.spec import Leaf, Site
from reslab.spec.shapes import axes

Tensor = Any


def user_layer(part: Leaf, site: Site) -> Callable[[Sequence[Tensor]], Tensor]:
    """A function from the input tensors to the output of the layer that the part makes.

    Raises UserError where the layer has another name, other variables or another output shape
    than the part says: counts, checkpoints and weight files rely on them.
    """
    layer = part.keras_layer(site)
    where = f"{site.path}: {type(part).__name__}"
    if not isinstance(layer, keras.layers.Layer):
        raise UserError(f"{where}.keras_layer returns {layer!r}: return a keras.layers.Layer")
    if layer.name != site.path:
        raise UserError(f"{where}.keras_layer calls its layer {layer.name!r}: pass name=site.path")

    def call(tensors: Sequence[Tensor]) -> Tensor:
        output = layer(tensors[0] if len(tensors) == 1 else list(tensors))
        others = [v for v in layer.non_trainable_variables if v.name != "seed_generator_state"]
        _check(where, "weights", part.weights(site.in_shapes[0]), layer.trainable_variables)
        _check(where, "state", part.state(site.in_shapes[0]), others)
        shape, expected = tuple(output.shape[1:]), axes(site.out_shape, site.data_format)
        if shape != expected:
            raise UserError(
                f"{where}.out_shape says {expected}, the output of its Keras layer is {shape}:"
                " correct one of them"
            )
        return output

    return call


def _check(where: str, method: str, expected: dict[str, tuple[int, ...]], variables: Any) -> None:
    shapes = {v.name: tuple(v.shape) for v in variables}
    if shapes != {name: tuple(shape) for name, shape in expected.items()}:
        raise UserError(
            f"{where}.{method} says {expected}, its Keras layer has {shapes}: correct one of them"
        )
