"""The picture and the page of a lesion study: the error without single units."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from reslab.plots.figure import Axis, Figure, Panel, Series, colours, samples
from reslab.plots.figure_plotly import chart, y_ends
from reslab.plots.format import NONE, count, listed, percent
from reslab.report.sections import Section, Table
from reslab.studies.folder import Study
from reslab.studies.lesions.results import LESIONS, errors_of, read
from reslab.studies.units import stage_starts

TITLE = "Lesions: networks without one of their units"
VEIT = (
    "Veit et al. 2016, arXiv 1605.06431, abstract: in a lesion study the paths through a residual "
    "network behave like an ensemble, for they do not strongly depend on each other."
)


NOT_REMOVED = {  # residual: why
    True: "the last layer of the body has no weights that make it zero",
    False: "without a shortcut, the layers that change the shape cannot be skipped",
}


def figures(study: Study) -> dict[str, Figure]:
    """Return the picture by the stem of its file."""
    entries = read(study)
    if not entries:
        return {}
    note = (
        f"{samples(entries)}. Dashed: the whole network. "
        "The shortcut of a removed residual unit remains."
    )
    rows = [[panel] for panel in _panels(entries)]
    title = "Error without one unit, and with two neighbours swapped"
    return {"lesions": Figure(title, note, rows, size=(7.4, 2.9))}


def sections(study: Study) -> list[Section]:
    """Return what the study shows. Raises UserError if its folder is damaged."""
    entries = read(study)
    if not entries:
        return [Section("Lesions", ["Nothing is measured yet."], measured=study.commands)]
    panels = _panels(entries)
    ends = y_ends(panels)
    charts = [
        (chart(p, f"lesions-{i}", ends), f"Error with {p.title}") for i, p in enumerate(panels)
    ]
    return [
        Section(
            "Without one unit",
            [_method(entries), *map(_errors, entries), *_not_removed(entries)],
            charts=charts,
            tables=[_summary(entries), *map(_table, entries)],
            measured=study.commands,
            quoted=(VEIT,),
        )
    ]


def _panels(entries: Sequence[dict[str, Any]]) -> list[Panel]:
    panels = []
    numbers = colours([entry["residual"] for entry in entries])
    breaks = _breaks(entries)
    for lesion, title in LESIONS.items():
        series = []
        for colour, entry in zip(numbers, entries, strict=True):
            if errors_of(entry, lesion):
                series += _series(entry, lesion, colour)
        if series:
            x_axis, y_axis = Axis("unit", whole=True), Axis("error", unit=" %", low=0)
            panels.append(Panel(title, x_axis, y_axis, series, breaks))
    return panels


def _series(entry: dict[str, Any], lesion: str, colour: int) -> list[Series]:
    """A run's errors as a line, and that of its whole network as a dashed line."""
    name, rows = entry["label"], entry["units"]
    labels = [row["unit"] + (f" and {row['with']}" if lesion == "swapped" else "") for row in rows]
    x = [float(i + 1) for i in range(len(rows))]
    y = [None if row[lesion] is None else _percentage(row[lesion]) for row in rows]
    ends, whole = [0.5, len(rows) + 0.5], [_percentage(entry["whole"])] * 2
    return [
        Series(name, colour, x, y, hover=labels),
        Series(f"{name}, whole", colour, ends, whole, dashed=True, shade=0.7),
    ]


def _breaks(entries: Sequence[dict[str, Any]]) -> list[float]:
    """Where a stage begins on the x axis, if all runs have the same number of units."""
    if len({len(entry["units"]) for entry in entries}) > 1:
        return []
    return [i + 0.5 for i in stage_starts([row["row"] for row in entries[0]["units"]])]


def _percentage(fraction: float) -> float:
    return float(f"{100 * fraction:.6g}")


def _method(entries: Sequence[dict[str, Any]]) -> str:
    return (
        f"Trained networks in inference, on {samples(entries)}; they are not trained again. A "
        "removed residual unit keeps its shortcut, and the ReLU after the addition where there is "
        "one. In a plain network the same layers are skipped. Swapped units run in the other order."
    )


def _errors(entry: dict[str, Any]) -> str:
    """One sentence: the error of the whole network, and the errors with lesions."""
    n, removed, swapped = entry["n"], errors_of(entry, "removed"), errors_of(entry, "swapped")
    text = f"{entry['label']}: the whole network has an error of {percent(entry['whole'], n)}"
    if removed:
        rows = [row for row in entry["units"] if row["removed"] is not None]
        worst = max(rows, key=lambda row: float(row["removed"]))
        text += (
            f"; without one unit the median is {percent(median(removed), n)}, the smallest "
            f"{percent(min(removed), n)}, the largest {percent(max(removed), n)} "
            f"(`{worst['unit']}`)"
        )
    if swapped:
        text += (
            f"; with two neighbours swapped the median is {percent(median(swapped), n)}, the "
            f"largest {percent(max(swapped), n)}"
        )
    return text + "."


def _not_removed(entries: Sequence[dict[str, Any]]) -> list[str]:
    """One sentence for each run with units that were not removed."""
    sentences = []
    for entry in entries:
        if names := [f"`{row['unit']}`" for row in entry["units"] if row["why"]]:
            verb, why = "was" if len(names) == 1 else "were", NOT_REMOVED[entry["residual"]]
            sentences.append(f"{entry['label']}: {listed(names)} {verb} not removed: {why}.")
    return sentences


def _summary(entries: Sequence[dict[str, Any]]) -> Table:
    head = (
        *("run", "images", "units", "whole"),
        *("one removed: median", "largest", "two swapped: median", "largest"),
    )
    rows = []
    for entry in entries:
        n, cells = entry["n"], []
        for lesion in LESIONS:
            values = errors_of(entry, lesion)
            cells += [percent(f(values), n) if values else NONE for f in (median, max)]
        units = count(len(entry["units"]))
        rows.append((entry["label"], count(n), units, percent(entry["whole"], n), *cells))
    return Table("Error", head, rows)


def _table(entry: dict[str, Any]) -> Table:
    n = entry["n"]
    rows = [
        (row["unit"], percent(row["removed"], n), percent(row["swapped"], n), row["with"] or NONE)
        for row in entry["units"]
    ]
    head = ("unit", "removed", "swapped", "with")
    return Table(f"{entry['label']}, unit by unit", head, rows, folded=True)
