"""What a lesion study shows: the error without single units (Veit et al. 2016)."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from reslab.core.errors import UserError
from reslab.plots.figure import Axis, Figure, Panel, Series, colours, samples
from reslab.plots.figure_plotly import chart, y_ends
from reslab.plots.format import NONE, count, listed, percent
from reslab.report.sections import Section, Table
from reslab.studies.folder import Study
from reslab.studies.units import stage_ends

VEIT = (
    "Veit et al. 2016, arXiv 1605.06431, abstract: in a lesion study the paths through a residual "
    "net behave like an ensemble, for they do not strongly depend on each other."
)
WHATS = {"removed": "one unit removed", "swapped": "a unit and the next one swapped"}


def read(study: Study) -> list[dict[str, Any]]:
    """The runs in the order in which they were asked, with errors as parts of one.

    UserError where the study is damaged.
    """
    data = study.read("lesions.json") or {"runs": []}
    try:
        found = {str(e["label"]): _errors(e) for e in data["runs"] if e["seen"]}
        asked = [run["run"] for run in study.asked["runs"]]
    except (KeyError, TypeError, ValueError):
        file = study.path / "lesions.json"
        raise UserError(f"{file} is damaged: delete it, and measure it again") from None
    return [found[name] for name in asked if name in found]


def _errors(entry: dict[str, Any]) -> dict[str, Any]:
    n = int(entry["seen"])

    def error(sums: dict[str, Any] | None) -> float | None:
        return None if sums is None else float(sums["wrong"]) / n

    units = [
        {
            "unit": str(row["unit"]),
            "row": str(row["row"]),
            "keeps": bool(row["keeps"]),
            "why": row["why"],
            "with": row["with"],
            **{what: error(row[what]) for what in WHATS},
        }
        for row in entry["units"]
    ]
    kept = {name: entry[name] for name in ("label", "network", "residual", "said")}
    return {**kept, "n": n, "whole": float(entry["whole"]["wrong"]) / n, "units": units}


def _panels(entries: Sequence[dict[str, Any]]) -> list[Panel]:
    panels = []
    tints = colours([entry["residual"] for entry in entries])
    for what, title in WHATS.items():
        series = []
        for number, entry in zip(tints, entries, strict=True):
            rows = entry["units"]
            if all(row[what] is None for row in rows):
                continue
            said = [
                row["unit"] + (f" and {row['with']}" if what == "swapped" else "") for row in rows
            ]
            x = [float(i + 1) for i in range(len(rows))]
            y = [None if row[what] is None else _percent(row[what]) for row in rows]
            series.append(Series(entry["label"], number, x, y, hover=said))
            ends = [0.5, len(entry["units"]) + 0.5]
            base = [_percent(entry["whole"])] * 2
            series.append(
                Series(f"{entry['label']}, whole", number, ends, base, dashed=True, shade=0.7)
            )
        if series:
            deepest = max(entries, key=lambda e: len(e["units"]))
            alike = {len(e["units"]) for e in entries} == {len(deepest["units"])}
            breaks = stage_ends([row["row"] for row in deepest["units"]]) if alike else []
            x_axis, y_axis = Axis("unit", whole=True), Axis("error", unit=" %", low=0)
            panels.append(Panel(title, x_axis, y_axis, series, [i + 0.5 for i in breaks]))
    return panels


def _percent(part: float) -> float:
    return float(f"{100 * part:.6g}")


def figures(study: Study) -> dict[str, Figure]:
    entries = read(study)
    if not entries:
        return {}
    note = f"{samples(entries)}. Dashed: the whole net. A residual unit leaves its shortcut."
    rows = [[panel] for panel in _panels(entries)]
    title = "Error without one unit, and with two neighbours swapped"
    return {"lesions": Figure(title, note, rows, size=(7.4, 2.9))}


def sections(study: Study) -> list[Section]:
    """What the study shows, from its folder; raises UserError where that is damaged."""
    entries = read(study)
    if not entries:
        return [Section("Lesions", ["Nothing is measured yet."], measured=study.commands)]
    panels = _panels(entries)
    ends = y_ends(panels)
    charts = [
        (chart(p, f"lesions-{i}", ends), f"Error with {p.title}") for i, p in enumerate(panels)
    ]
    words = [_how(entries), *(_said(entry) for entry in entries), *_refused(entries)]
    tables = [_summary(entries), *(_table(entry) for entry in entries)]
    return [
        Section(
            "Without one unit",
            words,
            charts=charts,
            tables=tables,
            measured=study.commands,
            quoted=(VEIT,),
        )
    ]


def _how(entries: Sequence[dict[str, Any]]) -> str:
    return (
        f"Trained nets, in inference, on {samples(entries)}; nothing is trained anew. A residual "
        "unit that is removed leaves its shortcut, and the ReLU behind the sum where there is one; "
        "of a plain net the same layers are left out. Swapped units take each other's place."
    )


def _of(entry: dict[str, Any], what: str) -> list[float]:
    return [row[what] for row in entry["units"] if row[what] is not None]


def _said(entry: dict[str, Any]) -> str:
    """A sentence a net: whole, and without the unit that it misses least, typically, and most."""
    n, removed, swapped = entry["n"], _of(entry, "removed"), _of(entry, "swapped")
    words = f"{entry['label']}: error {percent(entry['whole'], n)} when whole"
    if removed:
        worst = max((r for r in entry["units"] if r["removed"] is not None), key=_removed)
        words += (
            f"; without one unit {percent(median(removed), n)} in the median, "
            f"{percent(min(removed), n)} at least, {percent(max(removed), n)} at most "
            f"(`{worst['unit']}`)"
        )
    if swapped:
        words += (
            f"; with two neighbours swapped {percent(median(swapped), n)} in the median, "
            f"{percent(max(swapped), n)} at most"
        )
    return words + "."


def _removed(row: dict[str, Any]) -> float:
    return float(row["removed"])


def _refused(entries: Sequence[dict[str, Any]]) -> list[str]:
    found = []
    for entry in entries:
        for why in dict.fromkeys(row["why"] for row in entry["units"] if row["why"]):
            names = listed(f"`{row['unit']}`" for row in entry["units"] if row["why"] == why)
            found.append(f"{entry['label']}: not removed {names}: {why}.")
    return found


def _summary(entries: Sequence[dict[str, Any]]) -> Table:
    head = (
        *("run", "images", "units", "whole"),
        *("one removed: median", "most", "two swapped: median", "most"),
    )
    rows = []
    for entry in entries:
        n, cells = entry["n"], []
        for what in WHATS:
            values = _of(entry, what)
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


def found(study: Study) -> dict[str, Any]:
    rows = [
        {
            "run": entry["label"],
            "n": entry["n"],
            "whole": entry["whole"],
            **{
                what: {"median": median(values), "most": max(values)} if values else None
                for what in WHATS
                for values in [_of(entry, what)]
            },
        }
        for entry in read(study)
    ]
    return {"runs": rows}
