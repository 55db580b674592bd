"""Weights into a model and out of it, under any library's names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.models import saved, stacked
from reslab.models.build import allow_depth, variables
from reslab.spec import Layer, Network, walk
from reslab.spec.serialize import decode_network, encode_network
from reslab.spec.transforms import with_classes
from reslab.weights import files, keras_order, match
from reslab.weights.files import Contents
from reslab.weights.layer_paths import places
from reslab.weights.match import Fit
from reslab.weights.preprocessing import Preprocessing, decode
from reslab.weights.schemes import OWN, classifier, scheme, strided_1x1, tensors

log = logging.getLogger("reslab.weights")


@dataclass(frozen=True)
class About:
    """What is known of a model's weights; None where nothing is."""

    network: Network
    preprocessing: Preprocessing | None = None
    classes: tuple[str, ...] | None = None


def about(model: keras.Model, network: str | Network | None = None) -> About:
    """The network that a model was made of, and what came with its weights.

    A model that was cloned or read from a file is known by its name alone, and only where its
    variables are those of the zoo's network of that name. Raises UserError where it is not known.
    """
    known = getattr(model, "reslab", None)
    if isinstance(known, About) and network is None:
        return known
    net = None if network is None else zoo.network(network)
    if net is None:
        made_of = getattr(model, "reslab_network", None)
        net = made_of if isinstance(made_of, Network) else zoo.NETWORKS.get(model.name)
    if net is None:
        raise UserError(f"no network {model.name!r} is known: say which it is with network=NAME")
    return About(_with_classes_of(net, model))


def _with_classes_of(net: Network, model: keras.Model) -> Network:
    last = classifier(walk(net)) if net.classes else None
    kernel = variables(model).get(f"{last}/kernel")
    return net if kernel is None else with_classes(net, int(kernel.shape[-1]))


def layers_of(model: keras.Model, net: Network) -> list[Layer]:
    """The walk at the model's own size, down to where the model ends.

    Raises UserError where the model's variables are not the network's.
    """
    allow_depth(net)
    shape = tuple(model.input_shape[1:])
    size = (shape[1], shape[2], shape[0]) if channels_first(model) else shape
    own = {name: tuple(v.shape) for name, v in variables(model).items() if _weight(name)}
    layers = walk(net, size)
    for layer in layers:
        for name, wanted in {**layer.weights, **layer.state}.items():
            found = own.pop(f"{layer.path}/{name}", wanted)
            if found != wanted:
                raise UserError(
                    f"{layer.path}/{name} is {found} in the model, {wanted} in {net.name}"
                )
    if own:
        raise UserError(f"the model has {next(iter(own))}, which {net.name} has not: network=NAME")
    return layers


def channels_first(model: keras.Model) -> bool:
    if any(layer.name == "to_channels_last" for layer in model.layers):
        return True
    if any(layer.data_format == "channels_first" for layer in stacked.holders(model)):
        return True
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    return any(layer.data_format == "channels_first" for layer in convolutions)


def _weight(name: str) -> bool:
    return not name.endswith("seed_generator_state")


@dataclass(frozen=True)
class Source:
    """Arrays to load, and what is known of them."""

    contents: Contents
    scheme: str
    network: Network | None  # that they were trained for
    preprocessing: Preprocessing | None
    classes: tuple[str, ...] | None


def source(name: str | Path, network: str, scheme: str = "auto") -> Source:
    """A file, or what a library publishes for the network or its twin there ("keras/imagenet").

    Raises UserError where there is none, or it cannot be read or fetched.
    """
    from reslab.weights import registry

    found = None if Path(name).exists() else registry.find(network, str(name))
    if found is not None:
        theirs = zoo.network(found.network)
        return Source(
            registry.contents(found), found.scheme, theirs, found.preprocessing, found.classes
        )
    contents = files.read(name)
    said = contents.note
    try:
        net = decode_network(said["network"]) if "network" in said else None
        how = decode(said["preprocessing"]) if "preprocessing" in said else None
    except UserError as error:
        raise UserError(f"{name}: {error}") from None
    return Source(contents, scheme, net, how, _class_names(contents))


def library_variant(source: Source, network: Network) -> Network:
    """The network of the zoo that fits the weights: `network`, or a library's variant of it.

    keras.applications, for example, strides in the first 1x1 convolution. Its weights for
    `resnet50` fit `keras_resnet50`.
    """
    trained = source.network
    if trained and trained.name in zoo.NETWORKS and trained.name.endswith(f"_{network.name}"):
        return zoo.network(trained.name)
    return network


def _class_names(contents: Contents) -> tuple[str, ...] | None:
    said = contents.note.get("classes")
    good = isinstance(said, list) and all(isinstance(word, str) for word in said)
    return tuple(said) if good and said else None


def load(
    model: keras.Model,
    source: str | Path,
    scheme: str = "auto",
    network: str | Network | None = None,
) -> keras.Model:
    """Fill the model from a file, or from what a library publishes ("timm/resnet50.a1_in1k").

    `scheme` says whose names the file has: "torchvision", "timm", "keras", "keras_hub", "reslab",
    or "auto", which looks. `network` is needed for a model whose network is not known. A
    classifier of another number of classes is left as it is, and the log says so. Returns the
    model, which remembers how its pictures are to be prepared.

    Raises UserError where the file cannot be read or does not fit; the model is then unchanged.
    """
    known = about(model, network)
    return fill(model, known, _open(source, known.network.name, scheme))


_open = source  # `load` has an argument of that name


def fill(
    model: keras.Model,
    known: About,
    given: Source,
    say: Callable[[str], object] = log.warning,
) -> keras.Model:
    """Assign every variable of the model, and note what came with them; all or none.

    `say` is told, in a sentence each, what a person should know of it.
    """
    net, contents = known.network, given.contents
    layers = layers_of(model, net)
    if given.network and (odd := match.unlike(given.network, net)):
        raise UserError(
            f"{contents.path} belongs to {given.network.name}, not to {net.name}: {odd}"
        )
    if given.scheme == "auto":
        fit = match.best(layers, contents, net.name)
    else:
        fit = match.fit(scheme(given.scheme), layers, contents)
    own = variables(model)
    absent = {name for name, t in fit.tensors.items() if t.ours not in own}
    left = _head_left_out(fit, absent)
    if differences := fit.differences(missing_ok=absent | left, extra_ok=absent | left):
        raise _complaint(contents, net, layers, fit, differences)
    for sentence in _remarks(fit, left, given, net, layers):
        say(sentence)
    arrays: dict[str, np.ndarray] = {}
    for name, tensor in fit.tensors.items():
        if name not in absent and name not in left:
            arrays[tensor.ours] = tensor.to_ours(fit.arrays[name])
    stacked.assign(own, arrays)
    names = given.classes if len(given.classes or ()) == net.classes and not left else None
    model.reslab = About(net, given.preprocessing or known.preprocessing, names)
    return model


def _remarks(
    fit: Fit, left: set[str], given: Source, net: Network, layers: Sequence[Layer]
) -> Iterator[str]:
    if left:
        yield (
            f"{given.contents.path} has {fit.classes or 'no'} classes, the model {net.classes}: "
            f"the head ({', '.join(sorted(left))}) is left as it was"
        )
    if fit.scheme.torch and given.network is None and strided_1x1(layers):
        yield (
            f"{net.name} strides in a 1x1 convolution (v1), {fit.scheme.library}'s nets stride in "
            "the 3x3 (v1.5): the weights fit, but may have been trained for the other"
        )


def _head_left_out(fit: Fit, absent: set[str]) -> set[str]:
    """The classifier's names, if the file has another number of classes, or none at all."""
    head = set(fit.head) - absent
    there = [fit.arrays[name].shape for name in head if name in fit.arrays]
    wanted = {fit.tensors[name].their_shape for name in head}
    same = bool(there) and set(there) <= wanted
    if same or (there and not _only_classes_differ(fit, head)):
        return set()
    return head


def _only_classes_differ(fit: Fit, head: set[str]) -> bool:
    axis = 0 if fit.scheme.torch else -1
    for name in head & fit.arrays.keys():
        mine, other = list(fit.tensors[name].their_shape), list(fit.arrays[name].shape)
        if len(mine) != len(other):
            return False
        mine[axis] = other[axis] = 0
        if mine != other:
            return False
    return True


def _complaint(
    contents: Contents, net: Network, layers: Sequence[Layer], fit: Fit, differences: list[str]
) -> UserError:
    """What differs; and under whose names it would fit, where there is one."""
    if contents.nameless:
        return match.complain(contents, net.name, fit, differences)
    other = match.best(layers, contents, net.name)
    if other.names_found > fit.names_found:
        return UserError(
            f"{contents.path} has {other.scheme.name} names, not {fit.scheme.name}: "
            f"scheme={other.scheme.name!r}"
        )
    return match.complain(contents, net.name, fit, differences)


# Saving -----------------------------------------------------------------------------------------


def save(
    model: keras.Model,
    path: str | Path,
    scheme: str = "reslab",
    network: str | Network | None = None,
) -> None:
    """Write the model's weights under a library's names; the ending of `path` says the format.

    `.safetensors`, `.weights.h5`, `.h5` and `.keras` say also which network they are of and how
    pictures are prepared. `.keras` holds the model itself, and so has reslab's names. Raises
    UserError where the library has no such net, or the file cannot be written.
    """
    known = about(model, network)
    layers = layers_of(model, known.network)
    own = stacked.read(variables(model))
    if Path(path).name.endswith(".keras"):
        _save_keras(model, Path(path), known, scheme)
    else:
        flat = scheme == OWN.name and not stacked.holders(model)
        listed = [layer.name for layer in model.layers] if flat else None
        write(path, layers, own, scheme, note(known, scheme), listed)


def write(
    path: str | Path,
    layers: Sequence[Layer],
    own: Mapping[str, np.ndarray],
    named: str,
    said: Mapping[str, Any],
    listed: Sequence[str] | None = None,
) -> None:
    """Our arrays by `layer/variable` under a library's names; `said` is the file's note.

    `listed` is the order of the layers' paths in their Keras model, where that is known.
    """
    chosen = scheme(named)
    by_layer: dict[str, dict[str, np.ndarray]] = {}
    for name, tensor in tensors(chosen, layers).items():
        if tensor.ours in own:
            layer = tensor.ours.rpartition("/")[0]
            by_layer.setdefault(layer, {})[name] = tensor.to_theirs(own[tensor.ours])
    if str(path).endswith(".h5"):  # Keras finds layers by their order
        listed = listed or keras_order.by_depth(layers, shortcut_first=chosen is not OWN)
        by_layer = {path: by_layer[path] for path in listed if path in by_layer}
    arrays = {name: array for group in by_layer.values() for name, array in group.items()}
    nest = partial(chosen.nest, places(layers)) if chosen.nest else None
    files.write(path, arrays, said, nest)


def note(known: About, named: str) -> dict[str, Any]:
    """What a file says of its weights."""
    said: dict[str, Any] = {"scheme": named, "network": encode_network(known.network)}
    if known.preprocessing:
        said["preprocessing"] = known.preprocessing.encode()
    if known.classes:
        said["classes"] = list(known.classes)
    return said


def _save_keras(model: keras.Model, path: Path, known: About, named: str) -> None:
    if named != OWN.name:
        raise UserError(
            f"a .keras file holds a whole model, under reslab's names; for {named} names write "
            ".weights.h5 or .safetensors"
        )

    saved.save(model, path, note(known, named), files.NOTE)
