"""The picture and the page of a study of layer responses: He 2015, Fig. 7."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any

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


def _comparisons(entries: Sequence[dict[str, Any]]) -> list[str]:
    """Compare the two statements of the paper with the measurements."""
    sentences = []
    residual = [e for e in entries if e["residual"]]
    plain = {len(e["std"]): e for e in entries if not e["residual"]}
    for entry in residual:
        twin = plain.get(len(entry["std"]))
        if twin is not None:
            a, b = fmean(entry["std"]), fmean(twin["std"])
            word = "smaller" if a < b else "not smaller"
            sentences.append(
                f"{entry['label']} has {word} responses than {twin['label']}, which has the same "
                f"number of layers: their means are {a:.3f} and {b:.3f}."
            )
    by_depth = sorted(residual, key=lambda e: len(e["std"]))
    if len({len(e["std"]) for e in by_depth}) > 1:
        means = [fmean(e["std"]) for e in by_depth]
        falls = all(a > b for a, b in pairwise(means))
        word = "decrease with depth" if falls else "do not decrease with every step in depth"
        values = listed(f"{m:.3f} ({e['label']})" for m, e in zip(means, by_depth, strict=True))
        sentences.append(f"The mean responses of the residual networks {word}: {values}.")
    return sentences
