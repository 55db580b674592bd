"""Match the tensors of a weight file with the variables of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.spec import BN, Conv, Dense, Layer, Network, walk
from reslab.spec.transforms import with_classes
from reslab.weights import h5, keras_order
from reslab.weights.files import Contents
from reslab.weights.layer_paths import parse_layer_paths
from reslab.weights.schemes import (
    RESLAB,
    Scheme,
    VariableMapping,
    classifier_path,
    map_variables,
    schemes,
)

MAX_LISTED = 3  # tensors listed in an error message
MAX_WRAPPERS = 6  # modules around a network


@dataclass(frozen=True)
class Fit:
    """The variables of a network under a scheme, and the arrays of a file.

    `mappings` and `arrays` are by the library's current names; ignored arrays are left out.
    `head` has the names of the classifier's tensors. `prefixes` are those that wrappers had put
    before the names; several mean that the file has several copies of the network.
    """

    scheme: Scheme
    mappings: Mapping[str, VariableMapping]
    arrays: Mapping[str, np.ndarray]
    head: frozenset[str]
    prefixes: tuple[str, ...] = ("",)

    @property
    def matches(self) -> int:
        """The number of names that the network and the file have in common."""
        return len(self.mappings.keys() & self.arrays.keys())

    @property
    def fitting(self) -> int:
        """The number of the network's tensors that the file has with the same shape."""
        return sum(
            name in self.arrays and self.arrays[name].shape == mapping.their_shape
            for name, mapping in self.mappings.items()
        )

    @property
    def classes(self) -> int | None:
        """The file's number of classes; None if it has no classifier."""
        arrays = [self.arrays[name] for name in self.head if name in self.arrays]
        biases = [a.shape[0] for a in arrays if a.ndim == 1]
        kernels = [a.shape[0 if self.scheme.torch else -1] for a in arrays if a.ndim > 1]
        return next(iter(biases + kernels), None)

    def differences(
        self, missing_ok: Iterable[str] = (), extra_ok: Iterable[str] = ()
    ) -> list[str]:
        """Sentences: which shapes differ, which tensors are missing, which belong to no layer."""
        missing_ok, extra_ok = set(missing_ok), set(extra_ok)
        shapes, missing = [], []
        for name, mapping in self.mappings.items():
            if name in missing_ok:
                continue
            if name not in self.arrays:
                missing.append(f"{name} {_shape(mapping.their_shape)} is missing")
            elif (shape := self.arrays[name].shape) != mapping.their_shape:
                shapes.append(
                    f"{name} is {_shape(shape)} in the file, {_shape(mapping.their_shape)} in the "
                    "network"
                )
        names = [n for n in self.arrays if n not in self.mappings and n not in extra_ok]
        extra = [f"{n} {_shape(self.arrays[n].shape)} belongs to no layer" for n in names]
        return shapes + missing + extra


def fit(scheme: Scheme, layers: Sequence[Layer], contents: Contents) -> Fit:
    """Raises UserError if the scheme has no names for the network."""
    mappings = map_variables(scheme, layers)
    file_arrays = contents.arrays
    if contents.nameless and not scheme.torch:
        file_arrays = _name_by_order(scheme, layers, mappings, file_arrays)
    renamed = {scheme.rename(name): array for name, array in file_arrays.items()}
    unwrapped, prefixes = unwrap(renamed, mappings, "." if scheme.torch else "/")
    arrays = {name: a for name, a in unwrapped.items() if not _ignored(scheme, name, a)}
    head_path = classifier_path(layers)
    head = {name for name, m in mappings.items() if m.ours.rpartition("/")[0] == head_path}
    return Fit(scheme, mappings, arrays, frozenset(head), prefixes)


def unwrap(
    arrays: Mapping[str, np.ndarray], names: Collection[str], separator: str
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """The arrays without the prefix that a wrapper put before the names of a network.

    Trainers make the network a part of their own module: `backbone.layer1.0.conv1.weight`, and
    often the classifier a part of another: `head.fc.weight`.
    """
    parts = {name: name.split(separator) for name in arrays}
    by_prefix: dict[str, dict[str, str]] = {"": {}}
    for name, words in parts.items():
        for i in range(min(len(words), MAX_WRAPPERS)):
            if (end := separator.join(words[i:])) in names:
                prefix = separator.join([*words[:i], ""])
                by_prefix.setdefault(prefix, {})[name] = end
    prefix = max(by_prefix, key=lambda p: (len(by_prefix[p]), -len(p)))
    if not prefix:
        return dict(arrays), ("",)
    copies = [p for p, ends in by_prefix.items() if 10 * len(ends) > 9 * len(by_prefix[prefix])]
    ends = dict(by_prefix[prefix])
    ends |= {n: n.removeprefix(prefix) for n in arrays if n.startswith(prefix)}
    missing = Counter(end for other in by_prefix.values() for end in other.values())
    for other in by_prefix.values():
        for name, end in other.items():
            if missing[end] == 1 and name not in ends and end not in ends.values():
                ends[name] = end
    return {ends.get(name, name): array for name, array in arrays.items()}, tuple(sorted(copies))


def _name_by_order(
    scheme: Scheme,
    layers: Sequence[Layer],
    mappings: Mapping[str, VariableMapping],
    arrays: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Replace names like `layers/conv2d_3/kernel` by the names of the layers in this order."""
    classes = {Conv: "conv2d", BN: "batch_normalization", Dense: "dense"}
    names = {m.ours.rpartition("/")[0]: theirs.rpartition("/")[0] for theirs, m in mappings.items()}
    kinds = {layer.path: classes[type(layer.part)] for layer in layers if layer.path in names}
    paths = keras_order.by_depth(layers, shortcut_first=scheme is not RESLAB)
    kinds_by_name = {names[path]: kinds[path] for path in paths if path in names}
    nest = partial(scheme.nest, parse_layer_paths(layers)) if scheme.nest else None
    # the file of a classifier, or of a backbone alone
    candidates = [h5.groups(kinds_by_name, nest), h5.groups(kinds_by_name)]

    def matches(groups: Mapping[str, str]) -> int:
        return sum(name.rpartition("/")[0] in groups.values() for name in arrays)

    groups = max(candidates, key=matches)
    layer_of_group = {group: layer for layer, group in groups.items()}
    renamed = {}
    for name, array in arrays.items():
        group, _, variable = name.rpartition("/")
        renamed[f"{layer_of_group.get(group, group)}/{variable}"] = array
    return renamed


def _reject_nameless(contents: Contents) -> None:
    if contents.nameless:
        raise UserError(
            f"{contents.path} does not name its layers: give scheme 'keras' or 'keras_hub', and "
            "they are read in that library's order (--scheme on the command line)"
        )


def _library_of(network: str) -> str | None:
    """The scheme of the library whose variant a network is: "keras" for keras_resnet50."""
    libraries = [name for name in schemes() if network.startswith(f"{name}_")]
    return max(libraries, key=len, default=None)


def best(layers: Sequence[Layer], contents: Contents, network: str) -> Fit:
    """The fit under the scheme that matches the most names in the file.

    Raises UserError if no scheme matches any.
    """
    if contents.nameless and (library := _library_of(network)):
        return fit(schemes()[library], layers, contents)
    _reject_nameless(contents)
    fits = []
    for scheme in schemes().values():
        try:
            fits.append(fit(scheme, layers, contents))
        except UserError:  # the library has no such network
            continue
    best_fit = max(fits, key=lambda f: (f.matches, -len(f.differences())))
    if not best_fit.matches:
        first = ", ".join(list(contents.arrays)[:MAX_LISTED])
        raise UserError(
            f"{contents.path} has no tensor of {network} under the names of any library: its "
            f"tensors are {first}{twin(contents, network)}"
        )
    if len(best_fit.prefixes) > 1:
        raise UserError(
            f"{contents.path} has the tensors of {network} {len(best_fit.prefixes)} times, under "
            f"{' and '.join(best_fit.prefixes)}: save one of them to a file of its own"
        )
    return best_fit


def twin(contents: Contents, network: str) -> str:
    """The end of a message: the network of the zoo that the file fits, if there is another one."""
    try:
        other, _ = identify(contents)
    except UserError:
        return ""
    return "" if other.name == network else f"; it fits {other.name}: use that network"


def identify(contents: Contents) -> tuple[Network, Fit]:
    """The first network of the zoo with exactly the file's tensors, for any number of classes.

    Networks that differ only in strides have the same tensors. Raises UserError if none fits.
    """
    _reject_nameless(contents)
    for network in zoo.NETWORKS.values():
        layers = walk(network)
        for scheme in schemes().values():
            try:
                candidate = fit(scheme, layers, contents)
            except UserError:
                continue
            if not len(candidate.mappings) == len(candidate.arrays) == candidate.matches:
                continue
            classes = candidate.classes
            if classes and classes != network.classes:
                network = with_classes(network, classes)
                candidate = fit(scheme, walk(network), contents)
            if not candidate.differences():
                return network, candidate
    raise UserError(
        f"{contents.path} does not fit any network that reslab knows: name it with --network NAME"
    )


def mismatch(
    contents: Contents, network: str, candidate: Fit, differences: Sequence[str]
) -> UserError:
    """The error for a file that does not fit the network."""
    more = len(differences) - MAX_LISTED
    rest = f"; and {more} more" if more > 0 else ""
    advice = twin(contents, network)
    if not advice and 2 * candidate.fitting > len(candidate.mappings):
        advice = "; strict=False (--no-strict) loads what fits and leaves the rest"
    return UserError(
        f"{contents.path} does not fit {network} ({candidate.scheme.name} names): "
        f"{'; '.join(differences[:MAX_LISTED])}{rest}{advice}"
    )


def functional_difference(trained: Network, target: Network) -> str:
    """How two networks with the same tensors compute differently; "" if they do not.

    Compares what the weights depend on: kernel sizes, strides, padding, groups and epsilon.
    """
    parts = {x.path: x.part for x in walk(trained) if x.weights and not isinstance(x.part, Dense)}
    for layer in walk(target):
        part = parts.get(layer.path)
        if part is None or part.kind != layer.part.kind:
            continue
        for field in ("kernel", "stride", "pad", "groups", "dilation", "epsilon"):
            a, b = getattr(part, field, None), getattr(layer.part, field, None)
            if a != b:
                return f"{layer.path} has {field} {a} in {trained.name}, {b} in {target.name}"
    return ""


def _ignored(scheme: Scheme, name: str, array: np.ndarray) -> bool:
    if not array.ndim and array.dtype.kind in "iub":  # a counter
        return True
    return name.startswith(scheme.ignored) or name.endswith(scheme.ignored)


def _shape(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"
