"""The data that a run or several runs recorded, loaded again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reslab import data as datasets
from reslab.core.errors import UserError
from reslab.data import Data
from reslab.runs.run import Run


def reload(run: Run) -> Data:
    """Load the run's data again.

    Raises UserError if they have changed since, or were made in Python and cannot be read again.
    """
    return reload_from(run.path, run.info["data"])


def reload_from(path: Path, recorded: Mapping[str, Any]) -> Data:
    """`reload` for a folder that recorded "provenance" and "checksum", and perhaps "facts"."""
    if "source" not in recorded["provenance"]:
        raise UserError(f"the data of {path} were made in Python: pass them there as `data=...`")
    data = datasets.from_provenance(recorded["provenance"])
    if data.checksum != recorded["checksum"]:
        version = data.facts.get("version", 1)  # of glyphs, whose images reslab draws
        if version != (old := recorded.get("facts", {}).get("version", 1)):
            raise UserError(
                f"{path} was trained on version {old} of {data.name}, but this reslab has"
                f" version {version}: train again, or use the reslab that made the run"
            )
        raise UserError(
            f"the data of {path} have changed since it was started: {data.source} has checksum "
            f"{data.checksum[:12]}, not {recorded['checksum'][:12]}"
        )
    return data
