"""What a study of layer responses shows: He 2015, Fig. 7."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median
from typing import Any

from reslab.core.errors import UserError
from reslab.plots.figure import Axis, Figure, Panel, Series, colours, samples
from reslab.plots.figure_plotly import chart, y_ends
from reslab.plots.format import count, listed
from reslab.report.sections import Section, Table
from reslab.studies.folder import Study

HE = (
    "He et al. 2015, arXiv 1512.03385, Sec. 4.2: ResNets have generally smaller responses than "
    "their plain counterparts, and the deeper ResNet has smaller responses (ResNet-20, 56 and 110 "
    "on CIFAR-10, Fig. 7)."
)
ORDER, SORTED = "layer, in order of computation", "layer, sorted by size"


def read(study: Study) -> list[dict[str, Any]]:
    """The runs in the order in which they were asked; UserError where the study is damaged."""
    data = study.read("responses.json") or {"runs": []}
    try:
        found = {str(entry["label"]): entry for entry in data["runs"]}
        for entry in found.values():
            if len(entry["layers"]) != len(entry["std"]) or not entry["std"]:
                raise ValueError
            for layer, value in zip(entry["layers"], entry["std"], strict=True):
                _ = layer["path"], layer["normalised"], float(value)
        asked = [run["run"] for run in study.asked["runs"]]
    except (KeyError, TypeError, ValueError):
        file = study.path / "responses.json"
        raise UserError(f"{file} is damaged: delete it, and measure it again") from None
    return [found[name] for name in asked if name in found]


def _panels(entries: Sequence[dict[str, Any]]) -> tuple[Panel, Panel]:
    ordered, sized = [], []
    tints = colours([entry["residual"] for entry in entries])
    for number, entry in zip(tints, entries, strict=True):
        values = entry["std"]
        said = [layer["path"] for layer in entry["layers"]]
        x = list(range(1, len(values) + 1))
        down = sorted(range(len(values)), key=lambda i: -values[i])
        dashed = not entry["residual"]
        ordered.append(Series(entry["label"], number, x, values, hover=said, dashed=dashed))
        sized.append(
            Series(
                entry["label"],
                number,
                x,
                [values[i] for i in down],
                hover=[said[i] for i in down],
                dashed=dashed,
            )
        )
    y = Axis("standard deviation", low=0.0)
    return (
        Panel("in layer order", Axis(ORDER, whole=True), y, ordered),
        Panel("sorted by size", Axis(SORTED, whole=True), y, sized),
    )


def figures(study: Study) -> dict[str, Figure]:
    entries = read(study)
    if not entries:
        return {}
    note = f"{samples(entries)}, inference. Dashed: nets without residual units."
    title = "Standard deviations of the responses of 3x3 layers"
    rows = [[panel] for panel in _panels(entries)]
    return {"responses": Figure(title, note, rows, size=(7.4, 2.9))}


def sections(study: Study) -> list[Section]:
    """What the study shows, from its folder; raises UserError where that is damaged."""
    entries = read(study)
    if not entries:
        return [Section("Layer responses", ["Nothing is measured yet."], measured=study.commands)]
    panels = _panels(entries)
    ends = y_ends(panels)
    charts = [
        (chart(p, f"responses-{i}", ends), f"{p.y.label}, {p.title}") for i, p in enumerate(panels)
    ]
    head = ("run", "network", "3x3 layers", "mean", "median", "largest")
    rows = [
        (e["label"], e["network"], count(len(e["std"])), *(f"{v:.3f}" for v in _summary(e)))
        for e in entries
    ]
    table = Table("Standard deviations of layer responses", head, rows, names=2)
    words = [_how(entries), *_compared(entries)]
    quoted = (HE,)
    section = Section(
        "Layer responses",
        words,
        charts=charts,
        tables=[table],
        measured=study.commands,
        quoted=quoted,
    )
    return [section]


def _summary(entry: dict[str, Any]) -> tuple[float, float, float]:
    return fmean(entry["std"]), median(entry["std"]), max(entry["std"])


def _how(entries: Sequence[dict[str, Any]]) -> str:
    bare = [e["label"] for e in entries if not all(x["normalised"] for x in e["layers"])]
    words = (
        "The standard deviation, over all images, positions and maps, of what each 3x3 convolution "
        "puts out, behind its batch norm and before the ReLU or the sum (He 2015, Fig. 7); in "
        f"inference, on {samples(entries)}, un-augmented. The paper does not say on which images."
    )
    if bare:
        words += (
            f" In {listed(bare)} some convolutions have no batch norm behind them, as the last one "
            "of a pre-activation unit: there it is the convolution's own output."
        )
    return words


def _compared(entries: Sequence[dict[str, Any]]) -> list[str]:
    """The two statements of the paper, held against what was measured."""
    said = []
    residual = [e for e in entries if e["residual"]]
    plain = {len(e["std"]): e for e in entries if not e["residual"]}
    for each in residual:
        twin = plain.get(len(each["std"]))
        if twin is not None:
            a, b = fmean(each["std"]), fmean(twin["std"])
            word = "smaller" if a < b else "not smaller"
            said.append(
                f"{each['label']} has {word} responses than {twin['label']}, which has as many "
                f"layers: {a:.3f} against {b:.3f} in the mean."
            )
    depths = sorted(residual, key=lambda e: len(e["std"]))
    if len({len(e["std"]) for e in depths}) > 1:
        means = [fmean(e["std"]) for e in depths]
        falls = all(a > b for a, b in pairwise(means))
        word = "fall" if falls else "do not fall throughout"
        listing = listed(f"{m:.3f} ({e['label']})" for m, e in zip(means, depths, strict=True))
        said.append(f"With depth the residual nets' mean responses {word}: {listing}.")
    return said


def found(study: Study) -> dict[str, Any]:
    names = "mean", "median", "largest"
    rows = [
        {"run": e["label"], "layers": len(e["std"])}
        | {name: float(f"{v:.5g}") for name, v in zip(names, _summary(e), strict=True)}
        for e in read(study)
    ]
    return {"runs": rows}
