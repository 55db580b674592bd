"""From a description to a `keras.Model`; `rules` has the Keras layers of each part."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from operator import index
from typing import Any, SupportsIndex

import keras
from keras import layers

from reslab import zoo
from reslab.acceleration.accelerate import accelerate, fast_initialisation
from reslab.core.errors import UserError
from reslab.models.rules import Tensor, visitor
from reslab.models.stacked import Stacked, slices
from reslab.spec import Edge, Network, input_maps, iter_rows, leaves
from reslab.spec.shapes import Vector, axes
from reslab.spec.stacks import Stack, traverse_stacked
from reslab.spec.transforms import headless, row_names, with_classes

FORMATS = "channels_last", "channels_first"


def create(
    network: str | Network,
    classes: int | None = None,
    input_shape: tuple[int | None, int | None, int | None] | None = None,
    data_format: str | None = None,
    top: bool = True,
    taps: str | Sequence[str] = (),
    aux: bool = False,
    stacked: bool = False,
    remat: bool = False,
    name: str | None = None,
) -> keras.Model:
    """Build the Keras model of a network without pretrained weights.

    `reslab.create` documents the arguments.
    """
    net = zoo.network(network)
    # PyTorch keeps one parameter for each path of a variable, and its names have no dots
    scope = nullcontext() if name is None else keras.name_scope(_checked(name).replace(".", "_"))
    if remat and not stacked:
        raise UserError("remat recomputes the activations of stacked units: it needs stacked=True")
    if classes is not None and top and not taps:
        net = with_classes(net, classes)
    whole = net
    if not top:
        net = headless(net)
    data_format = _data_format(data_format or net.data_format)
    maps = input_maps(net, _channels_last(input_shape, data_format))
    inside = data_format if _runs(data_format) else "channels_last"

    inputs = keras.Input(axes(maps, data_format), name="image")
    x = (
        inputs
        if inside == data_format
        else layers.Permute((2, 3, 1), name="to_channels_last")(inputs)
    )
    taps = row_names(net, taps)
    make = partial(_stacked, data_format=inside, remat=remat) if stacked else None
    with fast_initialisation(), scope:
        rows = _rows(net, Edge(maps, x), inside, taps, aux and not taps, make)
    outputs = {
        row: value.result if inside == data_format else _to_channels_first(row, value)
        for row, value in rows.items()
    }
    end = outputs if taps or aux else outputs.popitem()[1]
    model = keras.Model(inputs, end, name=name or _identifier(net.name))
    model.reslab_network = whole  # for `reslab.weights`
    return accelerate(model)


def main_output(model: keras.Model) -> keras.Model:
    """The model without its auxiliary heads, with the same layers."""
    if not isinstance(model.output, dict):
        return model
    main = keras.Model(model.input, model.output["head"], name=model.name)
    main.reslab_network = getattr(model, "reslab_network", None)
    return accelerate(main)


def allow_depth(network: Network) -> None:
    """Raise Python's recursion limit to the depth of the network: Keras recurses through a graph.

    The limit stays raised, so that cloning, saving and loading work as well.
    """
    allow_layers(sum(1 for part in network.rows.values() for _ in leaves(part)))


def allow_layers(layers: int) -> None:
    """Raise Python's recursion limit to a graph of this many layers."""
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 3 * layers))


def _stacked(stack: Stack, x: Tensor, data_format: str, remat: bool) -> Tensor:
    return Stacked(stack, data_format, remat)(x)


def _rows(
    net: Network,
    value: Edge,
    data_format: str,
    taps: tuple[str, ...],
    aux: bool,
    make: Callable[[Stack, Tensor], Tensor] | None,
) -> dict[str, Edge]:
    """The outputs of the taps; without taps, those of the auxiliary heads and of the last row.

    `make` builds stacked units; None builds them one by one.
    """
    visit = visitor(data_format)
    outputs: dict[str, Edge] = {}
    allow_depth(net)
    for row, part, is_aux in iter_rows(net, aux):
        end = traverse_stacked(part, value, row, visit, make)
        value = value if is_aux else end
        if row in taps or is_aux:
            outputs[row] = end
        if taps and len(outputs) == len(taps):
            return {row: outputs[row] for row in taps}
    return {**outputs, row: value}


def _data_format(wanted: str | None) -> str:
    data_format = wanted or keras.config.image_data_format()
    if data_format not in FORMATS:
        raise UserError(f"data_format is {' or '.join(FORMATS)}, not {data_format!r}")
    return data_format


def _runs(data_format: str) -> bool:
    """Whether convolutions run in this order: TensorFlow on a CPU has none in channels_first."""
    if data_format == "channels_last" or keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _channels_last(shape: Any, data_format: str) -> tuple[int | None, int | None, int] | None:
    if shape is None:
        return None
    if not isinstance(shape, Sequence) or isinstance(shape, str) or len(shape) != 3:
        raise UserError(f"input_shape is (height, width, channels) in some order, not {shape!r}")
    for n in shape:
        if n is not None and (isinstance(n, bool) or not isinstance(n, SupportsIndex)):
            raise UserError(f"input_shape {tuple(shape)} has {n!r}, which is not an integer")
    shape = [None if n is None else index(n) for n in shape]
    height, width, channels = (
        shape if data_format == "channels_last" else (shape[1], shape[2], shape[0])
    )
    if channels is None or any(n is not None and n < 1 for n in (height, width, channels)):
        raise UserError(f"input_shape {tuple(shape)} does not name a number of channels and sizes")
    return height, width, channels


def _to_channels_first(name: str, value: Edge) -> Tensor:
    if isinstance(value.shape, Vector):
        return value.result
    return layers.Permute((3, 1, 2), name=f"{name}_to_channels_first")(value.result)


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_-." else "_" for c in name).strip("_") or "network"


def _checked(name: str) -> str:
    if not isinstance(name, str) or _identifier(name) != name:
        raise UserError(
            f"{name!r} cannot be the name of a model: use letters, digits, '_', '-' and '.', "
            "with no '_' at either end"
        )
    return name


def variables(model: keras.Model) -> dict[str, Any]:
    """All variables of a model by `layer/variable`, such as `conv3_x_4_body_conv1/kernel`.

    They include running statistics and the states of random generators. Unlike Keras's own paths,
    these names do not depend on what else the process has built. Stacked units are listed layer by
    layer, as if they were not stacked: `stacked.read` and `stacked.assign` copy many at once.
    """
    return slices.variables(model)
