"""The picture and the page of a study of layer responses: He 2015, Fig. 7."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from reslab.evaluation.intervals import welch
from reslab.plots.figure import Axis, Figure, Panel, Series, colours, samples
from reslab.plots.figure_plotly import chart, y_ends
from reslab.plots.format import count, listed
from reslab.report.sections import Section, Table
from reslab.studies.folder import Study
from reslab.studies.responses.results import STATISTICS, read, statistics

TITLE = "Layer responses"
HE = (
    "He et al. 2015, arXiv 1512.03385, Sec. 4.2: ResNets have generally smaller responses than "
    "their plain counterparts, and the deeper ResNet has smaller responses (ResNet-20, 56 and 110 "
    "on CIFAR-10, Fig. 7)."
)
ORDER, SORTED = "layer, in order of computation", "layer, sorted by size"


def figures(study: Study) -> dict[str, Figure]:
    """Return the picture by the stem of its file."""
    entries = read(study)
    if not entries:
        return {}
    note = f"{samples(entries)}, inference. Dashed: networks without residual units."
    title = "Standard deviations of the responses of 3x3 layers"
    rows = [[panel] for panel in _panels(entries)]
    return {"responses": Figure(title, note, rows, size=(7.4, 2.9))}


def sections(study: Study) -> list[Section]:
    """Return what the study shows. Raises UserError if its folder is damaged."""
    entries = read(study)
    if not entries:
        return [Section(TITLE, ["Nothing is measured yet."], measured=study.commands)]
    panels = _panels(entries)
    ends = y_ends(panels)
    charts = [
        (chart(p, f"responses-{i}", ends), f"{p.y.label}, {p.title}") for i, p in enumerate(panels)
    ]
    head = ("run", "network", "3x3 layers", *STATISTICS)
    rows = [
        (
            entry["label"],
            entry["network"],
            count(len(entry["std"])),
            *(f"{value:.3f}" for value in statistics(entry).values()),
        )
        for entry in entries
    ]
    table = Table("Standard deviations of layer responses", head, rows, names=2)
    section = Section(
        TITLE,
        [_method(entries), *_comparisons(entries)],
        charts=charts,
        tables=[table],
        measured=study.commands,
        quoted=(HE,),
    )
    return [section]


def _panels(entries: Sequence[dict[str, Any]]) -> tuple[Panel, Panel]:
    by_order, by_size = [], []
    numbers = colours([entry["residual"] for entry in entries])
    for colour, entry in zip(numbers, entries, strict=True):
        name, values, dashed = entry["label"], entry["std"], not entry["residual"]
        labels = [layer["path"] for layer in entry["layers"]]
        x = list(range(1, len(values) + 1))
        by_order.append(Series(name, colour, x, values, hover=labels, dashed=dashed))
        order = sorted(range(len(values)), key=lambda i: -values[i])
        y, labels = [values[i] for i in order], [labels[i] for i in order]
        by_size.append(Series(name, colour, x, y, hover=labels, dashed=dashed))
    y_axis = Axis("standard deviation", low=0.0)
    return (
        Panel("in layer order", Axis(ORDER, whole=True), y_axis, by_order),
        Panel("sorted by size", Axis(SORTED, whole=True), y_axis, by_size),
    )


def _method(entries: Sequence[dict[str, Any]]) -> str:
    bare = [e["label"] for e in entries if not all(x["normalised"] for x in e["layers"])]
    text = (
        "The standard deviation of the output of each 3x3 convolution, over all images, positions "
        "and channels, after batch norm and before the ReLU or the addition (He 2015, Fig. 7). "
        f"Measured in inference on {samples(entries)}, without augmentation. The paper does not "
        "name its images."
    )
    if bare:
        text += (
            f" In {listed(bare)} some convolutions have no batch norm after them, such as the last "
            "one of a pre-activation unit: there the response is the output of the convolution."
        )
    return text


@dataclass(frozen=True)
class _Network:
    """The runs of one network that are called NAME-seed0, NAME-seed1 and so on, or a single run."""

    entries: tuple[dict[str, Any], ...]

    @property
    def layers(self) -> int:
        return len(self.entries[0]["std"])

    @property
    def means(self) -> list[float]:
        """The mean response of each run."""
        return [fmean(entry["std"]) for entry in self.entries]

    @property
    def label(self) -> str:
        if len(self.entries) == 1:
            return str(self.entries[0]["label"])
        return f"{self.entries[0]['network']} ({len(self.entries)} runs)"

    @property
    def text(self) -> str:
        """`0.647`, or `0.647 ± 0.012` over several runs."""
        deviation = f" ± {stdev(self.means):.3f}" if len(self.means) > 1 else ""
        return f"{fmean(self.means):.3f}{deviation}"


def _comparisons(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Compare the two statements of the paper with the measurements.

    Two networks with several runs each are compared by Welch's t-interval. Single runs are only
    described: one of them says nothing about another seed.
    """
    runs: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for entry in entries:
        name = re.sub(r"-seed\d+$", "", entry["label"])
        key = entry["residual"], len(entry["std"]), entry["network"], name
        runs.setdefault(key, []).append(entry)
    networks = [_Network(tuple(each)) for each in runs.values()]
    residual = [net for net in networks if net.entries[0]["residual"]]
    plain = {net.layers: net for net in networks if not net.entries[0]["residual"]}
    pairs = [(net, plain[net.layers]) for net in residual if net.layers in plain]
    sentences = [_pair(net, twin) for net, twin in pairs]
    by_depth = sorted(residual, key=lambda net: net.layers)
    if len({net.layers for net in by_depth}) > 1:
        falls = all(fmean(a.means) > fmean(b.means) for a, b in pairwise(by_depth))
        word = "decrease with depth" if falls else "do not decrease with every step in depth"
        values = listed(f"{net.text} ({net.label})" for net in by_depth)
        sentences.append(f"The mean responses of the residual networks {word}: {values}.")
    if sentences and any(len(net.entries) == 1 for net in networks):
        sentences.append(
            "This describes single runs: another seed gives other values, and may change the order."
        )
    return sentences


def _pair(net: _Network, twin: _Network) -> str:
    same = f"which has the same number of layers: their means are {net.text} and {twin.text}"
    if min(len(net.entries), len(twin.entries)) < 2:
        word = "smaller" if fmean(net.means) < fmean(twin.means) else "not smaller"
        return f"{net.label} has {word} responses than {twin.label}, {same}."
    low, high = welch(net.means, twin.means)
    interval = f"(95 % interval of the difference {low:.3f} to {high:.3f})"
    if low <= 0 <= high:
        return (
            f"Whether {net.label} has smaller responses than {twin.label} is not decided: their "
            f"means are {net.text} and {twin.text} {interval}."
        )
    word = "smaller" if high < 0 else "larger"
    return f"{net.label} has {word} responses than {twin.label}, {same} {interval}."
