"""The part of a report about labels that may be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reslab.core.records import check_record
from reslab.evaluation.suspects import is_weak
from reslab.report.thumbnails import thumbnail
from reslab.runs.records import Suspects

NAMES = {"train": "training", "validation": "validation"}


def shown(file: Path, stored: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of the template, from what suspects.json holds."""
    check_record(file, stored, Suspects)
    images = [
        {**thumbnail(each), "part": NAMES.get(each["split"], each["split"])}
        for each in stored["suspects"]
    ]
    parts = [{**part, "name": NAMES.get(part["split"], part["split"])} for part in stored["parts"]]
    files = any(each.get("file") for each in stored["suspects"])
    return {
        "images": images,
        "parts": parts,
        "sure": stored["sure"],
        "weak": is_weak(stored),
        "more": sum(part["sure"] for part in parts) - len(images),
        "folder": data["source"] if files else None,
    }
