"""The measurements of a lesion study, read from its folder."""

from __future__ import annotations

from statistics import median
from typing import Any

from reslab.core.errors import UserError
from reslab.studies.folder import Study

FILE = "lesions.json"
LESIONS = {"removed": "one unit removed", "swapped": "a unit and the next one swapped"}


def read(study: Study) -> list[dict[str, Any]]:
    """Return the runs in the order of the settings; errors are fractions.

    Raises UserError if the file is damaged.
    """
    content = study.read(FILE) or {"runs": []}
    try:
        entries = {str(e["label"]): _errors(e) for e in content["runs"] if e["seen"]}
        names = [run["run"] for run in study.settings["runs"]]
    except (KeyError, TypeError, ValueError):
        file = study.path / FILE
        raise UserError(f"{file} is damaged: delete it and measure again") from None
    return [entries[name] for name in names if name in entries]


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
            **{lesion: error(row[lesion]) for lesion in LESIONS},
        }
        for row in entry["units"]
    ]
    facts = {name: entry[name] for name in ("label", "network", "residual", "said")}
    return {**facts, "n": n, "whole": float(entry["whole"]["wrong"]) / n, "units": units}


def errors_of(entry: dict[str, Any], lesion: str) -> list[float]:
    """Return the errors of a run for one kind of lesion, one for each unit that has it."""
    return [row[lesion] for row in entry["units"] if row[lesion] is not None]


def summarise(study: Study) -> dict[str, Any]:
    """Return for each run the error of the whole network, and the median and largest by lesion."""
    rows = [
        {
            "run": entry["label"],
            "n": entry["n"],
            "whole": entry["whole"],
            **{
                lesion: {"median": median(values), "most": max(values)} if values else None
                for lesion in LESIONS
                for values in [errors_of(entry, lesion)]
            },
        }
        for entry in read(study)
    ]
    return {"runs": rows}
