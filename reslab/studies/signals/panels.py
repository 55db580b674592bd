"""The panels of a study of signals: gradients and activations by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from reslab.plots.figure import Axis, Panel, Series, colours, over_seeds
from reslab.studies.signals.results import MeasuredNetwork
from reslab.studies.units import stage_starts

SHOWN = ("kernel_gradient", "image_gradient", "output_rms")
AXIS_TITLES = {
    "kernel_gradient": "gradient of the kernel, L2",
    "relative_gradient": "gradient of the kernel / kernel, L2",
    "image_gradient": "gradient of the output, L2",
    "output_rms": "output, RMS",
    "output_std": "output, standard deviation",
}
LAYER = Axis("layer", whole=True)
BN_LABELS = ((True, "with BN"), (False, "without BN"))


def panel(networks: Sequence[MeasuredNetwork], quantity: str, at: int | None, title: str) -> Panel:
    """Return several networks at one moment; None is the last moment of each."""
    series = []
    for colour, network in zip(_colours(networks), networks, strict=True):
        name = network.kind if _are_twins(networks) else network.label
        moment = network.moments[-1] if at is None else at
        series += _series(network, moment, quantity, name, colour)
    breaks = _breaks(networks[0])
    y_axis = Axis(AXIS_TITLES[quantity], log=True)
    return Panel(title, LAYER, y_axis, series, breaks=breaks)


def by_bn(networks: Sequence[MeasuredNetwork]) -> list[tuple[str, list[MeasuredNetwork]]]:
    """Group twins into those with and those without batch norm; runs are one group."""
    if not _are_twins(networks):
        return [("", list(networks))]
    groups = [(label, [n for n in networks if n.bn is bn]) for bn, label in BN_LABELS]
    return [(title, group) for title, group in groups if group]


def grid(networks: Sequence[MeasuredNetwork], quantity: str, unit: str) -> list[list[Panel]]:
    """Return one panel per network with its moments, two panels a row."""
    panels = [
        _over_moments(network, quantity, unit, colour)
        for colour, network in zip(_colours(networks), networks, strict=True)
    ]
    return [panels[i : i + 2] for i in range(0, len(panels), 2)]


def _series(
    network: MeasuredNetwork, at: int, quantity: str, name: str, colour: int, shade: float = 1
) -> list[Series]:
    """The main convolutions as a line; shortcut convolutions and the classifier as dots."""
    values, main = network.values(at, quantity), network.main
    paths = np.array([layer["path"] for layer in network.layers])
    numbers = np.array([layer["number"] for layer in network.layers])

    def of(mask: np.ndarray, name: str, **style: Any) -> Series:
        x, labels = numbers[mask].tolist(), paths[mask].tolist()
        return over_seeds(name, colour, x, values[:, mask], hover=labels, shade=shade, **style)

    line = of(main, name)
    return [line] if main.all() else [line, of(~main, "", width=0, marker="circle")]


def _breaks(network: MeasuredNetwork) -> list[float]:
    rows = [layer["row"] for layer in network.layers if not layer["shortcut"]]
    return [i + 0.5 for i in stage_starts(rows)]


def _are_twins(networks: Sequence[MeasuredNetwork]) -> bool:
    return all(network.unit == "step" for network in networks)


def _colours(networks: Sequence[MeasuredNetwork]) -> list[int]:
    """One colour for each kind of twin; runs have one each."""
    residual = [network.kind == "residual" for network in networks]
    if _are_twins(networks):
        return [0 if each else 1 for each in residual]
    return colours(residual)


def _over_moments(
    network: MeasuredNetwork, quantity: str, unit: str, colour: int, most: int = 8
) -> Panel:
    """One network at up to `most` of its moments; later moments have stronger colours."""
    moments = network.moments
    if len(moments) > most:
        positions = np.linspace(0, len(moments) - 1, most).round().astype(int)
        moments = [moments[i] for i in sorted(set(positions.tolist()))]
    series: list[Series] = []
    for i, at in enumerate(moments):
        shade = i / max(1, len(moments) - 1)
        line, *_ = _series(network, at, quantity, f"{unit} {at}", colour, shade)
        series.append(
            Series(line.name, colour, line.x, line.y, gaps=line.gaps, hover=line.hover, shade=shade)
        )
    y_axis = Axis(AXIS_TITLES[quantity], log=True)
    return Panel(network.label, LAYER, y_axis, series, breaks=_breaks(network))
