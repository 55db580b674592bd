"""Load weights into a model and save them, under the names of any library."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab import zoo
from reslab.acceleration.keras_internals import flatten_layers
from reslab.core.errors import UserError
from reslab.data.sources import hub, web
from reslab.models import stacked
from reslab.models.build import allow_depth, variables
from reslab.models.finite import not_finite
from reslab.spec import Layer, Network, walk
from reslab.spec.serialize import decode_network
from reslab.spec.transforms import with_classes
from reslab.weights import channels, files, match
from reslab.weights.files import Contents
from reslab.weights.match import Fit
from reslab.weights.preprocessing import Preprocessing, decode
from reslab.weights.repository import Repository, open_repository
from reslab.weights.schemes import classifier_path, scheme, strides_in_1x1

log = logging.getLogger("reslab.weights")
MAX_LEFT = 20  # tensors listed in a warning


@dataclass(frozen=True)
class About:
    """What is known of a model's weights.

    Attributes:
        network: The network that the model was built from.
        preprocessing: How images become the input of the network; None if it is not known.
        classes: The names of the classes in the order of the logits; None if they are not known.
    """

    network: Network
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None


def about(model: keras.Model, network: str | Network | None = None) -> About:
    """Return the network of a model, with the preprocessing and class names of its weights.

    `reslab.create` and `reslab.weights.load` attach them to the model. A model that was cloned or
    loaded from a file is identified by its name, if the zoo has a network of that name.

    Args:
        model: A Keras model.
        network: The name of a network of the zoo, or a `Network`, for a model that cannot be
            identified.

    Returns:
        An `About`.

    Raises:
        UserError: The model cannot be identified and `network` is None.
    """
    attached = getattr(model, "reslab", None)
    if isinstance(attached, About) and network is None:
        return attached
    net = None if network is None else zoo.network(network)
    if net is None:
        built_from = getattr(model, "reslab_network", None)
        net = built_from if isinstance(built_from, Network) else zoo.NETWORKS.get(model.name)
    if net is None:
        raise UserError(f"there is no network {model.name!r}: name the model's with network=NAME")
    return About(_with_classes_of(net, model))


def _with_classes_of(net: Network, model: keras.Model) -> Network:
    path = classifier_path(walk(net)) if net.classes else None
    kernel = variables(model).get(f"{path}/kernel")
    return net if kernel is None else with_classes(net, int(kernel.shape[-1]))


def layers_of(model: keras.Model, net: Network) -> list[Layer]:
    """The layers of the network at the model's input size.

    Raises UserError if a variable of the model does not belong to the network.
    """
    _reject_quantised(model)
    allow_depth(net)
    shape = tuple(model.input_shape[1:])
    size = (shape[1], shape[2], shape[0]) if channels_first(model) else shape
    shapes = {
        name: tuple(v.shape)
        for name, v in variables(model).items()
        if not name.endswith("seed_generator_state")
    }
    for name in adapter_variables(shapes):
        del shapes[name]
    layers = walk(net, size)
    for layer in layers:
        for name, expected in {**layer.weights, **layer.state}.items():
            actual = shapes.pop(f"{layer.path}/{name}", expected)
            if actual != expected:
                raise UserError(
                    f"{layer.path}/{name} is {actual} in the model, {expected} in {net.name}"
                )
    if shapes:
        raise UserError(
            f"the model has {next(iter(shapes))}, but {net.name} does not: name the model's "
            "network with network=NAME"
        )
    return layers


def adapter_variables(names: Iterable[str]) -> set[str]:
    """Those of the names `layer/variable` that belong to adapters (LoRA)."""
    return {name for name in names if name.rpartition("/")[2].startswith("lora_kernel_")}


def adapted_layers(model: keras.Model) -> list[Any]:
    """The layers with adapters (LoRA), whose `kernel` is the sum of kernel and adapter."""
    return [layer for layer in flatten_layers(model) if getattr(layer, "lora_enabled", False)]


def _reject_quantised(model: keras.Model) -> None:
    for layer in flatten_layers(model):
        if mode := getattr(layer, "quantization_mode", None):
            raise UserError(
                f"{layer.name} is quantised to {mode}, and no library's names stand for that: save "
                "or load the weights before model.quantize, or save the whole model with model.save"
            )


def channels_first(model: keras.Model) -> bool:
    """Whether the model takes NCHW images."""
    if any(layer.name == "to_channels_last" for layer in model.layers):
        return True
    if any(layer.data_format == "channels_first" for layer in stacked.holders(model)):
        return True
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    return any(layer.data_format == "channels_first" for layer in convolutions)


# Loading ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """The arrays to load, their naming scheme, and what is known of them.

    `network` is the one that the weights were trained for; None if it is not known. `strict`:
    whether all tensors must match. `repository`: where on the hub they come from.
    """

    contents: Contents
    scheme: str
    network: Network | None
    preprocessing: Preprocessing | None
    classes: tuple[str, ...] | None
    strict: bool = True
    repository: Repository | None = None


def open_source(
    name: str | Path, network: str, scheme: str = "auto", ema: bool = True, strict: bool = True
) -> Source:
    """Open a weight file, or weights published for the network ("keras/imagenet").

    Raises UserError if there are none, or they cannot be read or downloaded.
    """
    from reslab.weights import registry

    if hub.is_address(name):
        found = open_repository(name)
        contents = files.read(found.weights, ema)
        return Source(contents, scheme, found.network, None, found.classes, strict, found)
    published = None if Path(name).exists() else registry.find(network, str(name))
    if published is not None:
        return Source(
            registry.contents(published),
            published.scheme,
            zoo.network(published.network),
            published.preprocessing,
            published.classes,
            strict,
        )
    contents = files.read(name, ema)
    note = contents.note
    try:
        net = decode_network(note["network"]) if "network" in note else None
        preprocessing = decode(note["preprocessing"]) if "preprocessing" in note else None
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return Source(contents, scheme, net, preprocessing, _class_names(note), strict)


def library_variant(source: Source, network: Network) -> Network:
    """The network of the zoo that fits the weights: `network`, or a library's variant of it.

    keras.applications, for example, strides in the first 1x1 convolution. Its weights for
    `resnet50` fit `keras_resnet50`.
    """
    trained = source.network
    if trained and trained.name in zoo.NETWORKS and trained.name.endswith(f"_{network.name}"):
        return zoo.network(trained.name)
    return network


def _class_names(note: Mapping[str, Any]) -> tuple[str, ...] | None:
    classes = note.get("classes")
    valid = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return tuple(classes) if valid and classes else None


def load(
    model: keras.Model,
    source: str | Path,
    scheme: str = "auto",
    network: str | Network | None = None,
    strict: bool = True,
    ema: bool = True,
    insecure: bool = False,
) -> keras.Model:
    """Load weights into a model: from a file, or published by another library.

    If the weights have another number of classes than the model, the classifier keeps its values,
    and a warning says so. If the model has no classifier, tensors of the file that are outside of
    its network, such as those of another head, are left, and a warning lists them.

    Args:
        model: A model of `reslab.create`, or any Keras model with the same variables.
        source: The path of a weight file (`.safetensors`, `.pth`, `.pt`, `.ckpt`, `.bin`, `.tar`,
            `.keras`, `.weights.h5` or `.h5`), of the index of a sharded one or its folder; or the
            name of published weights, such as "torchvision/IMAGENET1K_V2",
            "timm/resnet50.a1_in1k" or "keras/imagenet".
        scheme: The library whose names the file has: "torchvision", "timm", "keras"
            (keras.applications), "keras_hub" or "reslab". "auto" detects it.
        network: The name of the model's network, or a `Network`. Needed only for a model that
            cannot be identified, see `about`.
        strict: Whether all tensors must match. If False, those with equal names and shapes are
            loaded, and a warning lists the others.
        ema: Where a file has averages of the weights over training steps (EMA, SWA) besides those
            of the last step: whether to take the averages. A warning says what was taken.
        insecure: Accept downloads without TLS, with an invalid certificate, or without a known
            checksum. A wrong checksum is refused in any case.

    Returns:
        The same model. `about(model)` has the preprocessing and class names of the weights.

    Raises:
        UserError: The weights cannot be read or downloaded, are not finite, or do not fit the
            model. The model is then unchanged.
    """
    info = about(model, network)
    with web.insecure(insecure):
        opened = open_source(source, info.network.name, scheme, ema, strict)
    return assign_weights(model, info, opened)


def assign_weights(
    model: keras.Model,
    info: About,
    source: Source,
    warn: Callable[[str], object] = log.warning,
) -> keras.Model:
    """Assign all variables of the model, or none, and attach what is known of the weights.

    `warn` is called with one sentence for each thing that the user should know.
    """
    net, contents = info.network, source.contents
    layers = layers_of(model, net)
    if source.network and (difference := match.functional_difference(source.network, net)):
        raise UserError(
            f"{contents.path} belongs to {source.network.name}, not to {net.name}: {difference}"
        )
    if source.scheme == "auto":
        fit = match.best(layers, contents, net.name)
    else:
        fit = match.fit(scheme(source.scheme), layers, contents)
    fit, notes = channels.adapted(fit, layers)
    model_variables = variables(model)
    absent = {name for name, m in fit.mappings.items() if m.ours not in model_variables}
    skipped = _skipped_head(fit, absent)
    left = skipped | _left_in_file(fit, absent)
    differences = fit.differences(missing_ok=absent | left, extra_ok=absent | left)
    if differences and (source.strict or not fit.fitting):
        raise _mismatch(contents, net, layers, fit, differences)
    for sentence in [*notes, *_warnings(fit, skipped, source, net, layers)]:
        warn(sentence)
    for sentence in _remarks(source, fit, left - skipped, differences):
        warn(sentence)
    arrays: dict[str, np.ndarray] = {}
    for name, mapping in fit.mappings.items():
        fits = name in fit.arrays and fit.arrays[name].shape == mapping.their_shape
        if name not in absent and name not in skipped and fits:
            arrays[mapping.ours] = mapping.to_ours(fit.arrays[name])
    if name := not_finite(arrays):
        raise UserError(
            f"{contents.path}: {name} has values that are not finite (NaN or infinity); the "
            "training that wrote it diverged: use other weights"
        )
    stacked.assign(model_variables, arrays)
    same_classes = len(source.classes or ()) == net.classes and not skipped
    preprocessing = source.preprocessing or info.preprocessing
    model.reslab = About(net, preprocessing, source.classes if same_classes else None)
    return model


def _warnings(
    fit: Fit, skipped: set[str], source: Source, net: Network, layers: Sequence[Layer]
) -> Iterator[str]:
    if skipped:
        yield (
            f"{source.contents.path} has {fit.classes or 'no'} classes, the model {net.classes}: "
            f"the head ({', '.join(sorted(skipped))}) is initialised"
        )
    if fit.scheme.torch and source.network is None and strides_in_1x1(layers):
        yield (
            f"{net.name} strides in a 1x1 convolution (v1), the networks of {fit.scheme.library} "
            "in the 3x3 (v1.5): the weights fit, but may have been trained for the other variant"
        )


def _left_in_file(fit: Fit, absent: set[str]) -> set[str]:
    """Tensors of a file that follow the network: those of another head, for a model without one.

    A tensor whose name starts as those of the network do (`layer5`, `conv6_x`) is not among them:
    the file is then of another network.
    """
    if not fit.head <= absent:
        return set()
    stems = {_stem(name) for name in fit.mappings if name not in fit.head}
    return {n for n in fit.arrays if n not in fit.mappings and _stem(n) not in stems}


def _stem(name: str) -> str:
    return re.split(r"[./_\d]", name, maxsplit=1)[0]


def _remarks(source: Source, fit: Fit, left: set[str], differences: list[str]) -> Iterator[str]:
    """What the reader of the file has to say, and the tensors that were not loaded."""
    contents = source.contents
    yield from contents.remarks
    if contents.nameless:
        yield f"{contents.path} does not name its layers: read in the order of {fit.scheme.library}"
    if left:
        yield f"{contents.path}: left what follows the network: {_listed(sorted(left))}"
    if differences:
        yield (
            f"{contents.path}: {fit.fitting} of {len(fit.mappings)} tensors of the network are "
            f"loaded, the others are initialised; {_listed(differences, '; ')}"
        )


def _listed(items: Sequence[str], separator: str = ", ") -> str:
    more = len(items) - MAX_LEFT
    return separator.join(items[:MAX_LEFT]) + (f"{separator}and {more} more" if more > 0 else "")


def _skipped_head(fit: Fit, absent: set[str]) -> set[str]:
    """The classifier's names if the file has another number of classes, or no classifier."""
    head = set(fit.head) - absent
    shapes = [fit.arrays[name].shape for name in head if name in fit.arrays]
    expected = {fit.mappings[name].their_shape for name in head}
    same = bool(shapes) and set(shapes) <= expected
    if same or (shapes and not _only_classes_differ(fit, head)):
        return set()
    return head


def _only_classes_differ(fit: Fit, head: set[str]) -> bool:
    axis = 0 if fit.scheme.torch else -1
    for name in head & fit.arrays.keys():
        expected, actual = list(fit.mappings[name].their_shape), list(fit.arrays[name].shape)
        if len(expected) != len(actual):
            return False
        expected[axis] = actual[axis] = 0
        if expected != actual:
            return False
    return True


def _mismatch(
    contents: Contents, net: Network, layers: Sequence[Layer], fit: Fit, differences: list[str]
) -> UserError:
    """The differences, or the scheme under which the file fits better."""
    if contents.nameless:
        return match.mismatch(contents, net.name, fit, differences)
    other = match.best(layers, contents, net.name)
    if other.matches > fit.matches:
        return UserError(
            f"{contents.path} has {other.scheme.name} names, not {fit.scheme.name}: use "
            f"scheme={other.scheme.name!r}"
        )
    return match.mismatch(contents, net.name, fit, differences)
