"""From file to file: other names, other formats, and what differs. No model is built."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.spec import Layer, Network, walk
from reslab.spec.transforms import with_classes
from reslab.weights import files, match, transfer
from reslab.weights.match import Fit
from reslab.weights.schemes import scheme


@dataclass(frozen=True)
class Opened:
    """A file's arrays under our names."""

    source: transfer.Source
    network: Network
    layers: Sequence[Layer]
    fit: Fit
    guessed: bool  # whether the network was found by its tensors alone

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        return {t.ours: t.to_ours(self.fit.arrays[n]) for n, t in self.fit.tensors.items()}


def open_file(path: str | Path, network: str | None = None, named: str = "auto") -> Opened:
    """Raises UserError where the file does not fit the network, or any of the zoo."""
    given = transfer.source(path, network or "", named)
    contents = given.contents
    guessed = network is None and given.network is None
    if guessed:
        net, fit = match.identify(contents)
        return Opened(given, net, walk(net), fit, guessed)
    said = zoo.network(network) if network else given.network
    assert said is not None
    net, fit = _fit(said, contents, given.scheme)
    if differences := fit.differences():
        raise match.complain(contents, net.name, fit, differences)
    return Opened(given, net, walk(net), fit, guessed)


def _fit(net: Network, contents: files.Contents, named: str) -> tuple[Network, Fit]:
    """With as many classes as the file has."""

    def look(net: Network) -> Fit:
        if named == "auto":
            return match.best(walk(net), contents, net.name)
        return match.fit(scheme(named), walk(net), contents)

    fit = look(net)
    if fit.classes and fit.classes != net.classes and net.classes:
        net = with_classes(net, fit.classes)
        fit = look(net)
    return net, fit


def convert(
    source: str | Path,
    path: str | Path,
    to: str,
    network: str | None = None,
    named: str = "auto",
) -> Opened:
    """Write a file's weights under the names of another library; both endings say the formats."""
    opened = open_file(source, network, named)
    known = transfer.About(opened.network, opened.source.preprocessing, opened.source.classes)
    if str(path).endswith(".keras"):
        raise UserError(f"{path} would be a model, not weights: reslab.create and model.save do it")
    said = transfer.note(known, to)
    if opened.guessed:
        del said["network"]  # others have the same tensors and other strides
    transfer.write(path, opened.layers, opened.arrays, to, said)
    return opened


def compare(one: str | Path, other: str | Path, network: str | None = None) -> list[dict[str, Any]]:
    """Layer by layer: {"layer", "variables", "difference", "scale", "only"}.

    `difference` is the largest of any number, `scale` the largest number of the first file; `only`
    is the file that alone has the layer, or "". Layers are matched by network where both are of
    one that is known, else by name. Raises UserError where nothing can be matched.
    """
    a, b = _arrays(one, other, network)
    if not a.keys() & b.keys():
        raise UserError(f"{one} and {other} have no tensor in common, by any library's names")
    layers: dict[str, list[str]] = {}
    for name in [*a, *(n for n in b if n not in a)]:
        joint = "/" if "/" in name else "."
        layers.setdefault(name.rpartition(joint)[0] or name, []).append(name)
    return [_row(layer, names, a, b, str(one), str(other)) for layer, names in layers.items()]


def _arrays(
    one: str | Path, other: str | Path, network: str | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    try:
        a, b = open_file(one, network), open_file(other, network)
        if a.arrays.keys() == b.arrays.keys():
            return a.arrays, b.arrays
    except UserError:
        pass
    return files.read(one).arrays, files.read(other).arrays


def _row(
    layer: str,
    names: list[str],
    a: dict[str, np.ndarray],
    b: dict[str, np.ndarray],
    one: str,
    other: str,
) -> dict[str, Any]:
    row: dict[str, Any] = {"layer": layer, "variables": len(names), "only": "", "shapes": ""}
    alone = {one if name in a else other for name in names if (name in a) != (name in b)}
    both = [name for name in names if name in a and name in b]
    odd = [name for name in both if a[name].shape != b[name].shape]
    if odd:
        row["shapes"] = f"{odd[0]}: {a[odd[0]].shape} and {b[odd[0]].shape}"
    same = [n for n in both if n not in odd]
    gaps = [np.abs(a[n].astype("f8") - b[n].astype("f8")).max(initial=0) for n in same]
    sizes = [np.abs(a[n].astype("f8")).max(initial=0) for n in same]
    row["only"] = ", ".join(sorted(alone))
    row["difference"] = float(max(gaps)) if gaps else None
    row["scale"] = float(max(sizes)) if sizes else None
    return row
