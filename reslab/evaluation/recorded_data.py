"""The data that a run or several runs recorded, loaded again."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reslab import data as datasets
from reslab.core import records
from reslab.core.errors import UserError
from reslab.core.files import FOLDS_FILE, RUN_FILE, SEEDS_FILE, write_json
from reslab.data import Data
from reslab.data.provenance import BY_SUFFIX
from reslab.runs.run import Run

log = logging.getLogger("reslab.data")


def reload(run: Run) -> Data:
    """Load the run's data again.

    Raises UserError if they have changed since, or were made in Python and cannot be read again.
    """
    return reload_from(run.path, run.info["data"])


def reload_from(path: Path, recorded: Mapping[str, Any]) -> Data:
    """`reload` for a folder that recorded "provenance" and "checksum", and perhaps "facts"."""
    if "source" not in recorded["provenance"]:
        raise UserError(f"the data of {path} were made in Python: pass them there as `data=...`")
    source = str(recorded["provenance"]["source"])
    if Path(source).is_absolute() and not Path(source).exists():
        raise UserError(
            f"the data of {path} are not at {source} any more: say where they are with `reslab "
            f"evaluate {path} --data NEW`, or `reslab train --resume {path} --data NEW`"
        )
    data = _loaded(recorded, source)
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


def _loaded(recorded: Mapping[str, Any], source: str) -> Data:
    """The data at a source, loaded as recorded.

    Earlier versions found fewer files in a folder. If they made the record, and without the others
    the data are those of then, the others are left out, and a warning says so.
    """
    provenance = {**recorded["provenance"], "source": source}
    error = None
    try:
        data = datasets.from_provenance(provenance)
        if data.checksum == recorded["checksum"]:
            return data
    except UserError as problem:  # such as a file that was not read then, and is damaged
        error = problem
    is_old = "layout" not in recorded.get("facts", {}) and "found_by" not in provenance
    if is_old and Path(source).is_dir():
        with suppress(UserError):
            old = datasets.from_provenance({**provenance, "found_by": BY_SUFFIX})
            if old.checksum == recorded["checksum"]:
                log.warning(
                    "%s has pictures that earlier versions of reslab did not find, such as AVIF "
                    "and files without a suffix: they are left out, as when the run was started",
                    source,
                )
                return old
    if error is not None:
        raise error
    return data


def moved(run: Run, source: Any) -> Data | None:
    """The run's own data, with the same parts, if they are at `source` now; None if they are not.

    `source` may also be data in Python, which are somewhere else.

    The run remembers the place if there is nothing at the old one.
    """
    recorded = run.info["data"]
    old = recorded["provenance"].get("source")
    if old is None or not isinstance(source, str | os.PathLike):
        return None
    if str(Path(source).expanduser().absolute()) == old:
        return None
    with suppress(UserError):
        data = _loaded(recorded, str(source))
        if data.checksum == recorded["checksum"]:
            if not Path(old).exists():
                _remember(run.path, data)
                run.info = Run.open(run.path).info
            return data
    return None


def move(path: Path, source: str | Path) -> None:
    """Let a run, or all runs of a folder of seeds or folds, read their data from `source` on.

    Raises UserError if the data there are not the same.
    """
    file = next((path / f for f in (SEEDS_FILE, FOLDS_FILE) if (path / f).exists()), None)
    recorded = Run.open(path).info["data"] if file is None else _record(file).get("data", {})
    if not isinstance(recorded.get("provenance"), dict) or "checksum" not in recorded:
        raise UserError(f"{path} does not say which data it was trained on")
    if "source" not in recorded["provenance"]:
        raise UserError(f"the data of {path} were made in Python: pass them there as `data=...`")
    data = _loaded(recorded, str(source))
    if data.checksum != recorded["checksum"]:
        raise UserError(
            f"{data.source} is not the data of {path}: it has checksum {data.checksum[:12]}, not "
            f"{recorded['checksum'][:12]}"
        )
    _remember(path, data)


def _remember(path: Path, data: Data) -> None:
    """Write the place of the data into the records of a folder and of the runs in it."""
    for pattern in (SEEDS_FILE, FOLDS_FILE, RUN_FILE, f"*/{RUN_FILE}"):
        for file in sorted(path.glob(pattern)):
            record = _record(file)
            recorded = record.get("data")
            if not isinstance(recorded, dict) or recorded.get("checksum") != data.checksum:
                continue
            recorded["provenance"]["source"] = data.source
            if "source" in recorded:
                recorded["source"] = data.source
            write_json(file, record)


def _record(file: Path) -> dict[str, Any]:
    record: dict[str, Any] = records.read_json(file, dict[str, Any])
    return record
