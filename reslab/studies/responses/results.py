"""The measurements of a study of layer responses, read from its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean, median
from typing import Any

from reslab.core.errors import UserError
from reslab.studies.folder import Study

FILE = "responses.json"
STATISTICS: Mapping[str, Callable[[list[float]], float]] = {
    "mean": fmean,
    "median": median,
    "largest": max,
}


def read(study: Study) -> list[dict[str, Any]]:
    """Return the runs in the order of the settings. Raises UserError if the file is damaged."""
    content = study.read(FILE) or {"runs": []}
    try:
        entries = {str(entry["label"]): entry for entry in content["runs"]}
        for entry in entries.values():
            if len(entry["layers"]) != len(entry["std"]) or not entry["std"]:
                raise ValueError
            for layer, value in zip(entry["layers"], entry["std"], strict=True):
                _ = layer["path"], layer["normalised"], float(value)
        names = [run["run"] for run in study.settings["runs"]]
    except (KeyError, TypeError, ValueError):
        file = study.path / FILE
        raise UserError(f"{file} is damaged: delete it and measure again") from None
    return [entries[name] for name in names if name in entries]


def statistics(entry: dict[str, Any]) -> dict[str, float]:
    """Return mean, median and largest standard deviation over the layers of a run."""
    return {name: function(entry["std"]) for name, function in STATISTICS.items()}


def summarise(study: Study) -> dict[str, Any]:
    """Return the number of layers and the statistics of each run, with five digits."""
    rows = [
        {"run": entry["label"], "layers": len(entry["std"])}
        | {name: float(f"{value:.5g}") for name, value in statistics(entry).items()}
        for entry in read(study)
    ]
    return {"runs": rows}
