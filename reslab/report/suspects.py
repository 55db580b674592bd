"""The part of a report about labels that may be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reslab.core.records import check_record
from reslab.evaluation.suspects import is_weak
from reslab.plots.format import count, listed
from reslab.report.thumbnails import thumbnail
from reslab.runs.evaluation_records import Suspects

NAMES = {"train": "training"}
INSTALL = 'pip install "reslab[labels]"'


def shown(
    file: Path,
    stored: Mapping[str, Any] | None,
    likely: Mapping[str, Any] | None,
    data: Mapping[str, Any],
    several: bool,
) -> dict[str, Any] | None:
    """Return the variables of the template; None if there is nothing to show.

    Args:
        file: The file suspects.json, for messages.
        stored: What it holds, or None.
        likely: The "suspects" of evaluation.json, or None.
        data: What run.json says about the data.
        several: Whether an image has several labels.
    """
    if stored is not None:
        check_record(file, stored, Suspects)
        stored = _without(stored, {part["split"] for part in likely["parts"]} if likely else set())
    if not likely and not (stored and stored["parts"]):
        return None
    return {
        "likely": _list(likely, data) if likely else None,
        "sure": stored["sure"] if stored else None,
        "contradicted": _list(stored, data) if stored and stored["parts"] else None,
        "install": INSTALL if not likely and not several else None,
    }


def of_folds(likely: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the list in a page about the folds of a cross-validation."""
    return _list(likely, data)


def _without(stored: Mapping[str, Any], splits: set[str]) -> dict[str, Any]:
    """The parts that are not in these splits."""
    return {
        **stored,
        **{
            key: [each for each in stored[key] if each["split"] not in splits]
            for key in ("parts", "suspects")
        },
    }


def _list(stored: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    images = [
        {**thumbnail(each), "part": NAMES.get(each["split"], each["split"])}
        for each in stored["suspects"]
    ]
    parts = [{**part, "name": NAMES.get(part["split"], part["split"])} for part in stored["parts"]]
    return {
        "images": images,
        "parts": parts,
        "summary": listed(_sentence(part) for part in parts),
        "weak": is_weak(stored),
        "more": sum(part["sure"] for part in parts) - len(images),
        "folder": data["source"] if any(each.get("file") for each in images) else None,
    }


def _sentence(part: Mapping[str, Any]) -> str:
    """`36 of 1,024 validation images (a sample of 2,976)`."""
    sample = f" (a sample of {count(part['of'])})" if part["n"] < part["of"] else ""
    return f"{count(part['sure'])} of {count(part['n'])} {part['name']} images{sample}"
