"""From description to `keras.Model`: one rule per part, every layer named by its path.

Only stock Keras layers come out, so that a saved file opens anywhere. Padding is written out
where Keras's "same" would be lopsided.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import keras
from keras import layers

from reslab import zoo
from reslab.errors import UserError
from reslab.shapes import Maps, Shape, Vector, padding
from reslab.spec import (
    BN,
    Activation,
    Add,
    AvgPool,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAverage,
    Init,
    Join,
    Leaf,
    MaxPool,
    Network,
    Value,
    ZeroPadShortcut,
    all_leaves,
    image,
    thread,
)
from reslab.transforms import headless, row_names, with_classes

FORMATS = "channels_last", "channels_first"
Tensor = Any
Rule = Callable[[Sequence[Tensor]], Tensor]


@dataclass(frozen=True)
class Site:
    """Where a layer stands: its path, the shapes around it, the order of its axes."""

    path: str
    shapes: tuple[Shape, ...]
    out: Shape
    data_format: str

    @property
    def channel_axis(self) -> int:
        return -1 if self.data_format == "channels_last" or isinstance(self.out, Vector) else 1


def create(
    network: str | Network,
    classes: int | None = None,
    input_shape: tuple[int | None, int | None, int | None] | None = None,
    data_format: str | None = None,
    top: bool = True,
    taps: Sequence[str] = (),
) -> keras.Model:
    """A Keras model of the network: standardised images to logits.

    `network` is a name of the zoo or a description. `classes` defaults to the network's own
    number (1000, 10, 62); `input_shape` to its own size, given without the batch, in the order
    of `data_format`; height and width may be None. `data_format` defaults to the network's, else
    to Keras's configured one. `top=False` ends at the last maps. With `taps` (rows of the table,
    as `("conv3_x", "conv4_x")`) the outputs are a dictionary of those rows' maps and nothing after
    the last of them is built.

    Raises UserError for a name, row, size or number of classes that does not fit.
    """
    net = zoo.network(network) if isinstance(network, str) else network
    if classes is not None and top and not taps:
        net = with_classes(net, classes)
    whole = net
    if not top:
        net = headless(net)
    data_format = _data_format(data_format or net.data_format)
    maps = image(net, _channels_last(input_shape, data_format))
    inside = data_format if _runs(data_format) else "channels_last"

    inputs = keras.Input(_shape(maps, data_format), name="image")
    x = (
        inputs
        if inside == data_format
        else layers.Permute((2, 3, 1), name="to_channels_last")(inputs)
    )
    rows = _rows(net, Value(maps, x), inside, row_names(net, tuple(taps)))
    outputs = {
        name: value.made if inside == data_format else _to_channels_first(name, value)
        for name, value in rows.items()
    }
    end = outputs if taps else outputs.popitem()[1]
    model = keras.Model(inputs, end, name=_identifier(net.name))
    model.reslab_network = whole  # for `reslab.weights`
    return model


def allow_depth(network: Network) -> None:
    """Let Python recurse as deep as the network: Keras follows a graph recursively, one by one.

    The limit stays up, so that cloning, saving and loading work as well.
    """
    layers = sum(1 for part in network.rows.values() for _ in all_leaves(part))
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 1000 + 3 * layers))


def _rows(net: Network, value: Value, data_format: str, taps: tuple[str, ...]) -> dict[str, Value]:
    """The values at the taps, or at the end where there are none."""

    def visit(leaf: Leaf, path: str, inputs: tuple[Value, ...], out: Shape) -> Tensor:
        site = Site(path, tuple(v.shape for v in inputs), out, data_format)
        return rule(leaf, site)([v.made for v in inputs])

    found: dict[str, Value] = {}
    allow_depth(net)
    for row, part in net.rows.items():
        value = thread(part, value, row, visit)
        if row in taps or not taps:
            found[row] = value
        if taps and len(found) == len(taps):
            break
    return {row: found[row] for row in taps} if taps else {row: value}


@singledispatch
def rule(leaf: Leaf, site: Site) -> Rule:
    """What Keras layers a leaf is made of: a function from its input tensors to its output."""
    raise UserError(f"{site.path}: no rule builds a {type(leaf).__name__}")


@rule.register
def _(leaf: Conv, site: Site) -> Rule:
    pad, keras_padding = _split_padding(leaf.pad, leaf.reach, leaf.stride, site)
    conv = layers.Conv2D(
        leaf.filters,
        leaf.kernel,
        strides=leaf.stride,
        padding=keras_padding,
        groups=leaf.groups,
        dilation_rate=leaf.dilation,
        use_bias=leaf.bias,
        kernel_initializer=initializer(leaf.init),
        data_format=site.data_format,
        name=site.path,
    )
    return lambda x: conv(pad(x[0]))


@rule.register
def _(leaf: BN, site: Site) -> Rule:
    axis = site.channel_axis
    if leaf.over == "width":
        axis = 2 if site.data_format == "channels_last" else 3
    bn = layers.BatchNormalization(
        axis=axis,
        momentum=leaf.momentum,
        epsilon=leaf.epsilon,
        gamma_initializer="ones" if leaf.gamma == 1 else keras.initializers.Constant(leaf.gamma),
        name=site.path,
    )
    return lambda x: bn(x[0])


@rule.register
def _(leaf: Activation, site: Site) -> Rule:
    activation = layers.Activation(leaf.function, name=site.path)
    return lambda x: activation(x[0])


@rule.register
def _(leaf: MaxPool, site: Site) -> Rule:
    if leaf.fill not in ("0", "-inf"):
        raise UserError(f"{site.path}: a max pool fills with '0' or '-inf', not {leaf.fill!r}")
    centred = leaf.pad == "even" and leaf.size % 2 and leaf.stride > 1
    if leaf.fill == "-inf" and centred:
        # Keras pads with -inf, evenly at stride 1 only: so every maximum, then each stride-th
        dense = _pool(layers.MaxPooling2D, leaf.size, 1, "same", site, "_dense")
        pick = _pool(layers.MaxPooling2D, 1, leaf.stride, "valid", site)
        return lambda x: pick(dense(x[0]))
    if leaf.fill == "-inf" and leaf.pad not in ("same", 0) and padding(leaf.size, leaf.pad):
        if leaf.stride > 1 or leaf.pad != "even":
            raise UserError(f"{site.path}: Keras has no max pool padded with -inf like this")
        pool = _pool(layers.MaxPooling2D, leaf.size, 1, "same", site)
        return lambda x: pool(x[0])
    pad, keras_padding = _split_padding(leaf.pad, leaf.size, leaf.stride, site, written_out=True)
    pool = _pool(layers.MaxPooling2D, leaf.size, leaf.stride, keras_padding, site)
    return lambda x: pool(pad(x[0]))


@rule.register
def _(leaf: AvgPool, site: Site) -> Rule:
    # written out, the zeros of the padding count in the mean, as in Caffe and PyTorch
    pad, keras_padding = _split_padding(leaf.pad, leaf.size, leaf.stride, site, written_out=True)
    pool = _pool(layers.AveragePooling2D, leaf.size, leaf.stride, keras_padding, site)
    return lambda x: pool(pad(x[0]))


@rule.register
def _(leaf: GlobalAverage, site: Site) -> Rule:
    pool = layers.GlobalAveragePooling2D(data_format=site.data_format, name=site.path)
    return lambda x: pool(x[0])


@rule.register
def _(leaf: Flatten, site: Site) -> Rule:
    flatten = layers.Flatten(data_format="channels_last", name=site.path)  # as the axes lie
    turns = {("chw", "channels_last"): (3, 1, 2), ("hwc", "channels_first"): (2, 3, 1)}
    turn = turns.get((leaf.order, site.data_format))
    if turn is None:
        return lambda x: flatten(x[0])
    permute = layers.Permute(turn, name=f"{site.path}_{leaf.order}")
    return lambda x: flatten(permute(x[0]))


@rule.register
def _(leaf: Dense, site: Site) -> Rule:
    dense = layers.Dense(
        leaf.units,
        use_bias=leaf.bias,
        kernel_initializer=initializer(leaf.init),
        name=site.path,
    )
    return lambda x: dense(x[0])


@rule.register
def _(leaf: Dropout, site: Site) -> Rule:
    # With no seed, Keras's dropout on torch draws from torch's own generator, whose state is no
    # variable and would be missing from a checkpoint. `keras.utils.set_random_seed` seeds this one.
    dropout = layers.Dropout(leaf.rate, seed=random.getrandbits(31), name=site.path)
    return lambda x: dropout(x[0])


@rule.register
def _(leaf: ZeroPadShortcut, site: Site) -> Rule:
    first = site.shapes[0]
    assert isinstance(first, Maps)
    pick = _pool(layers.MaxPooling2D, 1, leaf.stride, "valid", site, "_pick")
    # ZeroPadding2D pads two axes of its choice. Told the other data format, one of the two is the
    # channels: (n, h, w, c) read as "channels_first" has its "width" where the channels are.
    more = (0, leaf.channels - first.channels)
    if site.data_format == "channels_last":
        pads, told = ((0, 0), more), "channels_first"
    else:
        pads, told = (more, (0, 0)), "channels_last"
    pad = layers.ZeroPadding2D(pads, data_format=told, name=site.path)
    return lambda x: pad(pick(x[0]))


@rule.register
def _(leaf: Add, site: Site) -> Rule:
    add = layers.Add(name=site.path)
    return lambda x: add(list(x))


@rule.register
def _(leaf: Join, site: Site) -> Rule:
    if len(site.shapes) == 1:
        return lambda x: x[0]
    join = layers.Concatenate(axis=site.channel_axis, name=site.path)
    return lambda x: join(list(x))


def initializer(init: Init) -> keras.initializers.Initializer:
    return keras.initializers.VarianceScaling(init.scale, init.mode, init.distribution, init.seed)


def _pool(
    kind: Callable[..., Any], size: int, stride: int, pad: str, site: Site, suffix: str = ""
) -> Callable[[Tensor], Tensor]:
    name = site.path + suffix
    return kind(size, strides=stride, padding=pad, data_format=site.data_format, name=name)


def _split_padding(
    pad: int | str, reach: int, stride: int, site: Site, written_out: bool = False
) -> tuple[Callable[[Tensor], Tensor], str]:
    """A layer that pads, and what is left for Keras's own `padding`."""
    if pad == "same":
        return lambda x: x, "same"
    rows = padding(reach, pad)
    if rows == 0:
        return lambda x: x, "valid"
    if stride == 1 and 2 * rows == reach - 1 and not written_out:
        return lambda x: x, "same"  # the two agree here, and Keras need not copy the maps
    layer = layers.ZeroPadding2D(rows, data_format=site.data_format, name=f"{site.path}_pad")
    return layer, "valid"


def _data_format(wanted: str | None) -> str:
    data_format = wanted or keras.config.image_data_format()
    if data_format not in FORMATS:
        raise UserError(f"data_format is {' or '.join(FORMATS)}, not {data_format!r}")
    return data_format


def _runs(data_format: str) -> bool:
    """TensorFlow has no channels_first convolution on a CPU: there the model turns its input."""
    if data_format == "channels_last" or keras.backend.backend() != "tensorflow":
        return True
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def _channels_last(shape: Any, data_format: str) -> tuple[int | None, int | None, int] | None:
    if shape is None:
        return None
    if len(shape) != 3:
        raise UserError(f"input_shape is (height, width, channels) in some order, not {shape}")
    height, width, channels = (
        shape if data_format == "channels_last" else (shape[1], shape[2], shape[0])
    )
    if channels is None or any(n is not None and n < 1 for n in (height, width, channels)):
        raise UserError(f"input_shape {tuple(shape)} does not name a number of channels and sizes")
    return height, width, channels


def _shape(maps: Maps, data_format: str) -> tuple[int | None, ...]:
    if data_format == "channels_last":
        return maps.height, maps.width, maps.channels
    return maps.channels, maps.height, maps.width


def _to_channels_first(name: str, value: Value) -> Tensor:
    if isinstance(value.shape, Vector):
        return value.made
    return layers.Permute((3, 1, 2), name=f"{name}_to_channels_first")(value.made)


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() or c in "_-." else "_" for c in name).strip("_") or "network"


def variables(model: keras.Model) -> dict[str, Any]:
    """All variables of a model by `layer/variable`: `conv3_x_4_body_conv1/kernel`.

    Running statistics and the states of random generators are among them. Unlike Keras's own
    paths, these do not depend on what else was built in the process.
    """
    return {f"{layer.name}/{v.name}": v for layer in model.layers for v in layer.variables}
