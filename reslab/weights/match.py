"""Whether a file's tensors are a network's, and what to say where they are not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.spec import BN, Conv, Dense, Layer, Network, walk
from reslab.spec.transforms import with_classes
from reslab.weights import h5, keras_order
from reslab.weights.files import Contents
from reslab.weights.layer_paths import places
from reslab.weights.schemes import OWN, Scheme, Tensor, classifier, schemes, tensors

SHOWN = 3


@dataclass(frozen=True)
class Fit:
    """A network's tensors under a scheme, beside those of a file."""

    scheme: Scheme
    tensors: Mapping[str, Tensor]
    arrays: Mapping[str, np.ndarray]  # the file's, under today's names, without what is ignored
    head: frozenset[str]  # names of the classifier's

    @property
    def names_found(self) -> int:
        return len(self.tensors.keys() & self.arrays.keys())

    @property
    def classes(self) -> int | None:
        """The file's number of classes; None where it has no classifier."""
        found = [self.arrays[n] for n in self.head if n in self.arrays]
        lone = [a.shape[0] for a in found if a.ndim == 1]
        wide = [a.shape[0 if self.scheme.torch else -1] for a in found if a.ndim > 1]
        return next(iter(lone + wide), None)

    def differences(
        self, missing_ok: Iterable[str] = (), extra_ok: Iterable[str] = ()
    ) -> list[str]:
        """In words: shapes that differ, then what the file lacks, then what it has too many."""
        missing_ok, extra_ok = set(missing_ok), set(extra_ok)
        words, missing = [], []
        for name, tensor in self.tensors.items():
            if name in missing_ok:
                continue
            if name not in self.arrays:
                missing.append(f"{name} {_shape(tensor.their_shape)} is missing")
            elif (shape := self.arrays[name].shape) != tensor.their_shape:
                words.append(
                    f"{name} is {_shape(shape)} in the file, {_shape(tensor.their_shape)} in the "
                    "network"
                )
        extra = [n for n in self.arrays if n not in self.tensors and n not in extra_ok]
        more = [f"{n} {_shape(self.arrays[n].shape)} belongs to no layer" for n in extra]
        return words + missing + more


def fit(scheme: Scheme, layers: Sequence[Layer], contents: Contents) -> Fit:
    """Raises UserError where the scheme has no names for the network."""
    found = tensors(scheme, layers)
    given = contents.arrays
    if contents.nameless and not scheme.torch:
        given = _by_order(scheme, layers, found, given)
    arrays = {
        renamed: array
        for name, array in given.items()
        if not _ignored(scheme, renamed := scheme.rename(name))
    }
    last = classifier(layers)
    head = {name for name, t in found.items() if t.ours.rpartition("/")[0] == last}
    return Fit(scheme, found, arrays, frozenset(head))


def _by_order(
    scheme: Scheme,
    layers: Sequence[Layer],
    found: Mapping[str, Tensor],
    arrays: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Arrays called `layers/conv2d_3/kernel` under the names of the layers that stand there."""
    classes = {Conv: "conv2d", BN: "batch_normalization", Dense: "dense"}
    names = {t.ours.rpartition("/")[0]: theirs.rpartition("/")[0] for theirs, t in found.items()}
    kinds = {layer.path: classes[type(layer.part)] for layer in layers if layer.path in names}
    listed = keras_order.by_depth(layers, shortcut_first=scheme is not OWN)
    ordered = {names[path]: kinds[path] for path in listed if path in names}
    nest = partial(scheme.nest, places(layers)) if scheme.nest else None
    tries = [h5.groups(ordered, nest), h5.groups(ordered)]  # a classifier's file, a backbone's
    group = max(tries, key=lambda g: sum(name.rpartition("/")[0] in g.values() for name in arrays))
    layer_at = {place: layer for layer, place in group.items()}
    renamed = {}
    for name, array in arrays.items():
        place, _, variable = name.rpartition("/")
        renamed[f"{layer_at.get(place, place)}/{variable}"] = array
    return renamed


def _refuse_nameless(contents: Contents) -> None:
    if contents.nameless:
        raise UserError(
            f"{contents.path} does not say which layer is which: say whose it is, with scheme "
            "'keras' or 'keras_hub', and its layers are taken in that library's order"
        )


def best(layers: Sequence[Layer], contents: Contents, network: str) -> Fit:
    """Under the scheme that knows the most of the file's names.

    Raises UserError where none knows any.
    """
    _refuse_nameless(contents)
    fits = []
    for scheme in schemes().values():
        try:
            fits.append(fit(scheme, layers, contents))
        except UserError:  # the library has no such net
            continue
    found = max(fits, key=lambda f: (f.names_found, -len(f.differences())))
    if not found.names_found:
        first = ", ".join(list(contents.arrays)[:SHOWN])
        raise UserError(
            f"{contents.path} has no tensor that {network} has, by any library's names; it has "
            f"{first}"
        )
    return found


def identify(contents: Contents) -> tuple[Network, Fit]:
    """The first network of the zoo whose tensors are exactly the file's, whatever its classes.

    Networks that differ in strides alone have the same tensors. Raises UserError where none fits.
    """
    _refuse_nameless(contents)
    for network in zoo.NETWORKS.values():
        layers = walk(network)
        for scheme in schemes().values():
            try:
                found = fit(scheme, layers, contents)
            except UserError:
                continue
            if found.names_found < len(found.tensors) or len(found.arrays) != len(found.tensors):
                continue
            classes = found.classes
            if classes and classes != network.classes:
                network = with_classes(network, classes)
                found = fit(scheme, walk(network), contents)
            if not found.differences():
                return network, found
    raise UserError(
        f"{contents.path} is of no network that reslab knows: say which with --network NAME"
    )


def complain(contents: Contents, network: str, found: Fit, differences: Sequence[str]) -> UserError:
    """The one line about a file that does not fit."""
    more = len(differences) - SHOWN
    rest = f"; and {more} more" if more > 0 else ""
    return UserError(
        f"{contents.path} does not fit {network} ({found.scheme.name} names): "
        f"{'; '.join(differences[:SHOWN])}{rest}"
    )


def unlike(one: Network, other: Network) -> str:
    """Where two networks whose tensors agree compute differently; "" where they do not.

    What matters to weights only: kernels, strides, padding, groups, epsilon.
    """
    ours = {x.path: x.part for x in walk(one) if x.weights and not isinstance(x.part, Dense)}
    for layer in walk(other):
        mine = ours.get(layer.path)
        if mine is None or mine.kind != layer.part.kind:
            continue
        for field in ("kernel", "stride", "pad", "groups", "dilation", "epsilon"):
            a, b = getattr(mine, field, None), getattr(layer.part, field, None)
            if a != b:
                return f"{layer.path} has {field} {a} there, {b} here"
    return ""


def _ignored(scheme: Scheme, name: str) -> bool:
    return name.startswith(scheme.ignored) or name.endswith(scheme.ignored)


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"
