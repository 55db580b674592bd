"""Models that come with weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import keras

from reslab import zoo
from reslab.models import build
from reslab.spec import Network, walk
from reslab.weights import match, transfer
from reslab.weights.preprocessing import Preprocessing
from reslab.weights.schemes import scheme

log = logging.getLogger("reslab.weights")


def create(
    network: str | Network,
    classes: int | None = None,
    input_shape: tuple[int | None, int | None, int | None] | None = None,
    data_format: str | None = None,
    top: bool = True,
    taps: str | Sequence[str] = (),
    aux: bool = False,
    weights: str | Path | None = None,
    stacked: bool = False,
    remat: bool = False,
) -> keras.Model:
    """A Keras model of the network: standardised images to logits.

    `network` is a name of the zoo or a description. `classes` defaults to the network's own
    number (1000, 10, 62); `input_shape` to its own size, given without the batch, in the order
    of `data_format`; height and width may be None. `data_format` defaults to the network's, else
    to Keras's configured one. `top=False` ends at the last maps. With `taps` (rows of the table,
    as `("conv3_x", "conv4_x")`) the outputs are a dictionary of those rows' maps and nothing after
    the last of them is built. With `aux` the outputs are a dictionary as well: the logits as
    "head", those of auxiliary heads (GoogLeNet's) as their rows' names and "_aux".

    `weights` is a file, or "torchvision/IMAGENET1K_V2", "timm/resnet50.a1_in1k",
    "keras/imagenet": fetched once. Classes and size then default to the weights'. Where a library
    has another variant of the network (keras.applications strides in the first 1x1), that one is
    made, and the log says so. With other `classes` the head starts afresh; auxiliary heads always
    do.

    With `stacked`, units that repeat are one layer with stacked variables, whose file needs reslab
    to be opened. With `remat` too, they are computed anew on the way back: less memory, more time.
    bench/depth.py measures both.

    Raises UserError for a name, row, size or number of classes that does not fit.
    """
    if weights is None:
        return build.create(
            network, classes, input_shape, data_format, top, taps, aux, stacked, remat
        )
    net = zoo.network(network)
    given = transfer.source(weights, net.name)
    twin = given.network
    if twin and twin.name in zoo.NETWORKS and twin.name.endswith(f"_{net.name}"):
        log.warning("%s is of %s, which is what is made", weights, twin.name)
        net = zoo.network(twin.name)
    if input_shape is None and given.preprocessing and not taps:
        input_shape = _size(net, given.preprocessing, data_format)
    if classes is None and top and not taps:
        classes = _classes(net, given)
    model = build.create(net, classes, input_shape, data_format, top, taps, aux, stacked, remat)
    main = build.main_output(model) if aux else model  # its layers are the model's
    transfer.fill(main, transfer.about(main), given)
    model.reslab = main.reslab
    return model


def _size(
    net: Network, how: Preprocessing, data_format: str | None
) -> tuple[int | None, int | None, int | None]:
    order = data_format or net.data_format or keras.config.image_data_format()
    return (3, how.size, how.size) if order == "channels_first" else (how.size, how.size, 3)


def _classes(net: Network, given: transfer.Source) -> int | None:
    layers = walk(net)
    if given.scheme == "auto":
        return match.best(layers, given.contents, net.name).classes
    return match.fit(scheme(given.scheme), layers, given.contents).classes
