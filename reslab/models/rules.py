"""The Keras layers of each leaf: one rule per kind of leaf. Layers are named by their path.

Rules use stock Keras layers wherever there is one, so that a saved file opens anywhere. They pad
explicitly where Keras's "same" would be asymmetric.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import Any

import keras
from keras import layers

from reslab.acceleration.local_response import LocalResponse
from reslab.core.errors import UserError
from reslab.models.user_parts import user_layer
from reslab.spec import (
    BN,
    HE_OUT,
    LRN,
    Activation,
    AdaptiveAvgPool,
    Add,
    AvgPool,
    Conv,
    Dense,
    Dropout,
    Edge,
    Flatten,
    Gate,
    GlobalAverage,
    Init,
    Join,
    Leaf,
    MaxPool,
    Multiply,
    Scale,
    Site,
    StochasticDepth,
    Visit,
    ZeroPadShortcut,
)
from reslab.spec.shapes import Maps, Shape, axes, padding

Tensor = Any
Rule = Callable[[Sequence[Tensor]], Tensor]


@singledispatch
def rule(leaf: Leaf, site: Site) -> Rule:
    """Return a function from the input tensors of a leaf to its output, by Keras layers."""
    return user_layer(leaf, site)


def visitor(data_format: str) -> Visit:
    """For `spec.traverse`: every leaf as its layers, on Keras tensors in this order of axes."""

    def visit(leaf: Leaf, path: str, inputs: tuple[Edge, ...], out: Shape) -> Tensor:
        site = Site(path, tuple(v.shape for v in inputs), out, data_format)
        user_written = type(leaf).keras_layer is not Leaf.keras_layer
        build = user_layer if user_written else rule
        return build(leaf, site)([v.result for v in inputs])

    return visit


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
def _(leaf: LRN, site: Site) -> Rule:
    (maps,) = site.in_shapes
    assert isinstance(maps, Maps)
    norm = LocalResponse(leaf.size, leaf.alpha, leaf.beta, leaf.k, site.channel_axis % 4)
    model = norm.model(axes(maps, site.data_format), site.path)
    return lambda x: model(x[0])


@rule.register
def _(leaf: Scale, site: Site) -> Rule:
    scale = layers.Rescaling(leaf.factor, name=site.path)
    return lambda x: scale(x[0])


@rule.register
def _(leaf: MaxPool, site: Site) -> Rule:
    if leaf.fill not in ("0", "-inf"):
        raise UserError(f"{site.path}: a max pool fills with '0' or '-inf', not {leaf.fill!r}")
    centred = leaf.pad == "even" and leaf.size % 2 and leaf.stride > 1
    if leaf.fill == "-inf" and centred:
        # Keras pads evenly with -inf at stride 1 only: take all maxima, then every stride-th
        dense = _pool(layers.MaxPooling2D, leaf.size, 1, "same", site, "_dense")
        pick = _pool(layers.MaxPooling2D, 1, leaf.stride, "valid", site)
        return lambda x: pick(dense(x[0]))
    if leaf.fill == "-inf" and leaf.pad not in ("same", 0) and _pads(leaf):
        if leaf.stride > 1 or leaf.pad != "even":
            raise UserError(f"{site.path}: Keras has no max pool padded with -inf like this")
        pool = _pool(layers.MaxPooling2D, leaf.size, 1, "same", site)
        return lambda x: pool(x[0])
    pad, keras_padding = _split_padding(leaf.pad, leaf.size, leaf.stride, site, explicit=True)
    pool = _pool(layers.MaxPooling2D, leaf.size, leaf.stride, keras_padding, site)
    return lambda x: pool(pad(x[0]))


def _pads(leaf: MaxPool) -> bool:
    return leaf.pad == "ceil" or padding(leaf.size, leaf.pad) > 0


@rule.register
def _(leaf: AvgPool, site: Site) -> Rule:
    # padded explicitly, the zeros count in the mean, as in Caffe and PyTorch
    pad, keras_padding = _split_padding(leaf.pad, leaf.size, leaf.stride, site, explicit=True)
    pool = _pool(layers.AveragePooling2D, leaf.size, leaf.stride, keras_padding, site)
    return lambda x: pool(pad(x[0]))


@rule.register
def _(leaf: GlobalAverage, site: Site) -> Rule:
    pool = layers.GlobalAveragePooling2D(
        data_format=site.data_format, keepdims=leaf.keep, name=site.path
    )
    return lambda x: pool(x[0])


@rule.register
def _(leaf: AdaptiveAvgPool, site: Site) -> Rule:
    pool = layers.AdaptiveAveragePooling2D(leaf.size, data_format=site.data_format, name=site.path)
    return lambda x: pool(x[0])


@rule.register
def _(leaf: Flatten, site: Site) -> Rule:
    flatten = layers.Flatten(
        data_format="channels_last", name=site.path
    )  # in the order of its input
    orders = {("chw", "channels_last"): (3, 1, 2), ("hwc", "channels_first"): (2, 3, 1)}
    order = orders.get((leaf.order, site.data_format))
    if order is None:
        return lambda x: flatten(x[0])
    permute = layers.Permute(order, name=f"{site.path}_{leaf.order}")
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


@rule.register(Dropout)
@rule.register(StochasticDepth)
def _(leaf: Dropout | StochasticDepth, site: Site) -> Rule:
    dropout = drop(leaf, site)
    return lambda x: dropout(x[0])


def drop(
    leaf: Dropout | StochasticDepth, site: Site, kind: type[layers.Dropout] = layers.Dropout
) -> layers.Dropout:
    """The layer that drops single elements, or all maps of an image."""
    noise_shape = None
    if isinstance(leaf, StochasticDepth):
        noise_shape = (None,) + (1,) * (3 if isinstance(site.out_shape, Maps) else 1)
    # With no seed, Keras's dropout on torch draws from torch's own generator, whose state is no
    # variable and would be missing from a checkpoint. `keras.utils.set_random_seed` seeds this one.
    return kind(leaf.rate, noise_shape, seed=random.getrandbits(31), name=site.path)


@rule.register
def _(leaf: ZeroPadShortcut, site: Site) -> Rule:
    first = site.in_shapes[0]
    assert isinstance(first, Maps)
    if leaf.stride == 1 and leaf.channels == first.channels:
        identity = layers.Identity(name=site.path)
        return lambda x: identity(x[0])
    pick = _pool(layers.MaxPooling2D, 1, leaf.stride, "valid", site, "_pick")
    # ZeroPadding2D pads the two spatial axes of its data format. Given the other data format, one
    # of them is the channels: (n, h, w, c) read as "channels_first" has the channels as its width.
    more = (0, leaf.channels - first.channels)
    if site.data_format == "channels_last":
        pads, data_format = ((0, 0), more), "channels_first"
    else:
        pads, data_format = (more, (0, 0)), "channels_last"
    pad = layers.ZeroPadding2D(pads, data_format=data_format, name=site.path)
    return lambda x: pad(pick(x[0]))


@rule.register
def _(leaf: Add, site: Site) -> Rule:
    add = layers.Add(name=site.path)
    return lambda x: add(list(x))


@rule.register
def _(leaf: Multiply, site: Site) -> Rule:
    multiply = layers.Multiply(name=site.path)
    return lambda x: multiply(list(x))


@rule.register
def _(leaf: Gate, site: Site) -> Rule:
    maps = site.out_shape
    assert isinstance(maps, Maps)
    gate = layers.Conv2D(
        maps.channels,
        1,
        activation="sigmoid",
        kernel_initializer=initializer(HE_OUT),
        bias_initializer=keras.initializers.Constant(leaf.bias),
        data_format=site.data_format,
        name=site.path,
    )
    subtract, multiply, add = (
        kind(name=f"{site.path}_{suffix}")
        for kind, suffix in (
            (layers.Subtract, "difference"),
            (layers.Multiply, "gated"),
            (layers.Add, "sum"),
        )
    )

    def exclusive(x: Sequence[Tensor]) -> Tensor:  # g F + (1 - g) x = x + g (F - x)
        body, shortcut = x
        return add([shortcut, multiply([gate(shortcut), subtract([body, shortcut])])])

    def of_the_shortcut(x: Sequence[Tensor]) -> Tensor:  # F + (1 - g) x = (F + x) - g x
        body, shortcut = x
        return subtract([add([body, shortcut]), multiply([gate(shortcut), shortcut])])

    return exclusive if leaf.of == "exclusive" else of_the_shortcut


@rule.register
def _(leaf: Join, site: Site) -> Rule:
    if len(site.in_shapes) == 1:
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
    pad: int | str, reach: int, stride: int, site: Site, explicit: bool = False
) -> tuple[Callable[[Tensor], Tensor], str]:
    """A layer that pads, and the `padding` argument of the layer behind it."""
    if pad == "same":
        return lambda x: x, "same"
    if pad == "ceil":  # the last window reaches at most stride - 1 beyond the edge
        behind = ((0, stride - 1), (0, stride - 1))
        name = f"{site.path}_pad"
        return layers.ZeroPadding2D(behind, data_format=site.data_format, name=name), "valid"
    rows = padding(reach, pad)
    if rows == 0:
        return lambda x: x, "valid"
    if stride == 1 and 2 * rows == reach - 1 and not explicit:
        return lambda x: x, "same"  # the same here, and without a copy of the maps
    layer = layers.ZeroPadding2D(rows, data_format=site.data_format, name=f"{site.path}_pad")
    return layer, "valid"
