"""Networks as Keras models, with or without pretrained weights."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import keras

from reslab import zoo
from reslab.data.sources import web
from reslab.models import build
from reslab.spec import Network, walk
from reslab.weights import match, transfer
from reslab.weights.preprocessing import Preprocessing
from reslab.weights.schemes import scheme as scheme_named

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
    name: str | None = None,
    scheme: str = "auto",
    strict: bool = True,
    ema: bool = True,
    insecure: bool = False,
) -> keras.Model:
    """Create a Keras model of a network, with or without pretrained weights.

    The model maps normalised images to logits. It consists of stock Keras layers wherever Keras
    has the layer, and is accelerated (`reslab.accelerate`).

    Args:
        network: The name of a network of the zoo (`reslab list` prints them), such as
            "resnet50", or a `Network`.
        classes: The number of classes. Default: that of the weights, else the network's own
            (1000 for ImageNet, 10 for CIFAR-10, 62 for characters).
        input_shape: The shape of one image, without the batch, in the order of `data_format`:
            (height, width, channels) or (channels, height, width). Height and width may be None.
            Default: the size that the weights were trained at, else the network's own.
        data_format: "channels_last" (NHWC) or "channels_first" (NCHW). Default: the network's,
            else the one that Keras is configured with.
        top: Whether the model ends in the classifier. If False, it ends at the last feature maps.
        taps: Rows of the network's table, such as ("conv3_x", "conv4_x"). If given, the model
            returns a dictionary of the feature maps of these rows, and nothing after the last of
            them is built.
        aux: Whether to add the auxiliary classifiers (GoogLeNet has two). If True, the model
            returns a dictionary of logits: "head", and one entry per auxiliary classifier, such
            as "inception_4a_aux".
        weights: The path of a weight file, or the name of published weights:
            "torchvision/IMAGENET1K_V2", "timm/resnet50.a1_in1k" or "keras/imagenet", or
            "hf://USER/NAME" and "hf://USER/NAME@REVISION" for what `reslab push` uploaded to the
            Hugging Face hub. Published weights are downloaded once. Default: None, a random
            initialisation.
        stacked: Whether repeated units become one layer with stacked variables. Such a model
            is built, compiled and loaded faster (bench/depth.py). Its file cannot be loaded
            without reslab.
        remat: Whether stacked units recompute their activations in the backward pass (gradient
            checkpointing): less memory, more time. Requires `stacked`.
        name: The name of the model. Default: the network's. Two models of one network need
            different names if both are called inside one outer model, where each is one layer.
            The names of their own layers do not change.
        scheme: The library whose names the weights have, as in `reslab.weights.load`.
        strict: Whether all tensors of the weights must match. If False, those with equal names and
            shapes are loaded, and a warning lists the others.
        ema: Where a file has averages of the weights over training steps (EMA, SWA) besides those
            of the last step: whether to take the averages.
        insecure: Accept downloads without TLS, with an invalid certificate, or without a known
            checksum. A wrong checksum is refused in any case.

    Returns:
        A `keras.Model` with input (n, *input_shape) and output (n, classes) of logits; with `top`
        False, feature maps; with `taps` or `aux`, a dictionary.

        If the library of the weights has another variant of the network, that variant is built,
        and a warning names it: keras.applications strides in the first 1x1 convolution, so that
        `resnet50` with "keras/imagenet" becomes `keras_resnet50`. If `classes` differs from the
        number of classes of the weights, the classifier keeps its random initialisation.
        Auxiliary classifiers always do.

    Raises:
        UserError: An argument does not fit the network, or the weights do not fit it, or they
            cannot be read or downloaded.
    """
    build_model = partial(
        build.create,
        data_format=data_format,
        top=top,
        taps=taps,
        aux=aux,
        stacked=stacked,
        remat=remat,
        name=name,
    )
    if weights is None:
        return build_model(network, classes, input_shape)
    requested = zoo.network(network)
    with web.insecure(insecure):
        source = transfer.open_source(weights, requested.name, scheme, ema, strict)
    net = transfer.library_variant(source, requested)
    if net is not requested:
        log.warning("%s belongs to %s: that network is built", weights, net.name)
    if input_shape is None and source.preprocessing and not taps:
        input_shape = _input_shape(net, source.preprocessing, data_format)
    if classes is None and top and not taps:
        classes = _classes(net, source)
    model = build_model(net, classes, input_shape)
    main = build.main_output(model) if aux else model  # `main` shares the layers of `model`
    transfer.assign_weights(main, transfer.about(main), source)
    model.reslab = main.reslab
    return model


def _input_shape(
    net: Network, preprocessing: Preprocessing, data_format: str | None
) -> tuple[int | None, int | None, int | None]:
    size = preprocessing.size
    data_format = data_format or net.data_format or keras.config.image_data_format()
    return (3, size, size) if data_format == "channels_first" else (size, size, 3)


def _classes(net: Network, source: transfer.Source) -> int | None:
    """The number of classes of the weights; None if they have no classifier."""
    layers = walk(net)
    if source.scheme == "auto":
        return match.best(layers, source.contents, net.name).classes
    return match.fit(scheme_named(source.scheme), layers, source.contents).classes
