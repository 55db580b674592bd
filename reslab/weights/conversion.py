"""Convert and compare weight files. No model is built."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reslab import zoo
from reslab.core.errors import UserError
from reslab.spec import Layer, Network, walk
from reslab.spec.transforms import with_classes
from reslab.weights import files, match, saving, transfer
from reslab.weights.match import Fit
from reslab.weights.schemes import scheme

log = logging.getLogger("reslab.weights")


@dataclass(frozen=True)
class WeightFile:
    """An opened weight file, matched with a network.

    Attributes:
        source: The arrays of the file, and what its note says of them.
        network: The network that they fit.
        layers: The layers of the network.
        fit: The library's tensors for the network's variables.
        identified: Whether the network was identified by its tensors alone.
    """

    source: transfer.Source
    network: Network
    layers: Sequence[Layer]
    fit: Fit
    identified: bool

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by reslab's names, `layer/variable`, in reslab's axis order."""
        return {m.ours: m.to_ours(self.fit.arrays[n]) for n, m in self.fit.mappings.items()}


def open_file(
    path: str | Path,
    network: str | Network | None = None,
    named: str = "auto",
    ema: bool = True,
) -> WeightFile:
    """Open a weight file and match it with a network, by default the one in its note.

    Raises UserError if the file does not fit the network, or any network of the zoo.
    """
    source = transfer.open_source(path, network if isinstance(network, str) else "", named, ema)
    contents = source.contents
    if network is None and source.network is None:
        net, fit = match.identify(contents)
        return WeightFile(source, net, walk(net), fit, identified=True)
    given = zoo.network(network) if network else source.network
    assert given is not None
    net, fit = _fit(given, contents, source.scheme)
    if differences := fit.differences():
        raise match.mismatch(contents, net.name, fit, differences)
    return WeightFile(source, net, walk(net), fit, identified=False)


def _fit(net: Network, contents: files.Contents, named: str) -> tuple[Network, Fit]:
    """The network with the file's number of classes, and its fit."""

    def fit_to(net: Network) -> Fit:
        if named == "auto":
            return match.best(walk(net), contents, net.name)
        return match.fit(scheme(named), walk(net), contents)

    fit = fit_to(net)
    if fit.classes and fit.classes != net.classes and net.classes:
        net = with_classes(net, fit.classes)
        fit = fit_to(net)
    return net, fit


def convert(
    source: str | Path,
    path: str | Path,
    to: str,
    network: str | None = None,
    named: str = "auto",
    ema: bool = True,
) -> WeightFile:
    """Convert a weight file to the names and the format of another library.

    Args:
        source: The weight file to read (`.safetensors`, `.pth`, `.pt`, `.keras`, `.weights.h5` or
            `.h5`), or the name of published weights ("timm/resnet50.a1_in1k") together with
            `network`.
        path: The file to write. Its suffix selects the format: `.safetensors`, `.pth`, `.pt`,
            `.weights.h5` or `.h5`.
        to: The library whose names the new file has: "torchvision", "timm", "keras"
            (keras.applications), "keras_hub" or "reslab".
        network: The name of the network. Default: the one in the file's note, else the first
            network of the zoo with the same tensors.
        named: The library whose names `source` has; "auto" detects it.
        ema: Whether averages over training steps (EMA, SWA) are taken, where the file has both
            them and the weights of the last step.

    Returns:
        The opened source file, a `WeightFile`.

    Raises:
        UserError: The file cannot be read, has weights that are not finite, fits no network, or
            the library has no such network; or `path` cannot be written.
    """
    opened = open_file(source, network, named, ema)
    for remark in opened.source.contents.remarks:
        log.warning(remark)
    info = transfer.About(opened.network, opened.source.preprocessing, opened.source.classes)
    if str(path).endswith(".keras"):
        raise UserError(
            f"{path} would be a whole model: use reslab.create with weights, then model.save"
        )
    note = saving.make_note(info, to)
    if opened.identified:
        del note["network"]  # networks with other strides have the same tensors
    saving.write_weights(path, opened.layers, opened.arrays, to, note)
    return opened


def compare(one: str | Path, other: str | Path, network: str | None = None) -> list[dict[str, Any]]:
    """Compare two weight files layer by layer.

    Layers are matched through the network if both files fit the same one, else by their names.

    Args:
        one: A weight file.
        other: Another weight file; its names and format may differ.
        network: The name of the network. Default: as in `convert`.

    Returns:
        One dictionary per layer: "layer" (its name), "variables" (their number), "difference" (the
        largest absolute difference of any two values, None if nothing can be compared), "scale"
        (the largest absolute value in the first file), "only" (the file that alone has a variable
        of the layer, or "") and "shapes" (shapes that differ, or "").

    Raises:
        UserError: A file cannot be read, or the files have no tensor in common.
    """
    a, b = _arrays(one, other, network)
    if not a.keys() & b.keys():
        raise UserError(f"{one} and {other} have no tensor in common under any library's names")
    layers: dict[str, list[str]] = {}
    for name in [*a, *(n for n in b if n not in a)]:
        separator = "/" if "/" in name else "."
        layers.setdefault(name.rpartition(separator)[0] or name, []).append(name)
    return [_row(layer, names, a, b, str(one), str(other)) for layer, names in layers.items()]


def _arrays(
    one: str | Path, other: str | Path, network: str | None
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The arrays of both files by reslab's names if possible, else by the files' own."""
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
    only = {one if name in a else other for name in names if (name in a) != (name in b)}
    both = [name for name in names if name in a and name in b]
    unequal = [name for name in both if a[name].shape != b[name].shape]
    if unequal:
        row["shapes"] = f"{unequal[0]}: {a[unequal[0]].shape} and {b[unequal[0]].shape}"
    comparable = [n for n in both if n not in unequal]
    gaps = [np.abs(a[n].astype("f8") - b[n].astype("f8")).max(initial=0) for n in comparable]
    scales = [np.abs(a[n].astype("f8")).max(initial=0) for n in comparable]
    row["only"] = ", ".join(sorted(only))
    row["difference"] = float(max(gaps)) if gaps else None
    row["scale"] = float(max(scales)) if scales else None
    return row
