"""What a user should know about how data were read: one line for each note, from their facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import discovery
from .scale import GreyScale

SHOWN = 6  # classes that are named


def notes(facts: Mapping[str, Any]) -> list[str]:
    """The layout, and what was passed over, skipped, scaled or missing.

    Args:
        facts: Of a `Data`.
    """
    return [note for note in _notes(facts) if note]


def _notes(facts: Mapping[str, Any]) -> Iterator[str]:
    yield facts.get("layout", "")
    yield discovery.sentence(facts.get("passed_over") or {})
    if skipped := facts.get("skipped"):
        yield _skipped(skipped)
    if (scale := GreyScale.of(facts.get("scale"))) is not None:
        yield f"grey values of more than 8 bits: {scale.text} become 0 to 255 in all pictures"
    if names := facts.get("labels_without_column"):
        yield f"not evaluated, because the data have no column for them: {_named(names)}"
    for part, missing in (facts.get("missing_classes") or {}).items():
        if part != "train":  # labels that cannot be learned: `training.prepare` says so
            yield _missing(part, missing)


def _skipped(skipped: Sequence[Mapping[str, str]]) -> str:
    first = f"{skipped[0]['file']} ({skipped[0]['why']})"
    if len(skipped) == 1:
        return f"skipped 1 image that cannot be read: {first}"
    return f"skipped {len(skipped)} images that cannot be read, the first is {first}"


def _missing(part: str, classes: Sequence[str]) -> str:
    noun = "class" if len(classes) == 1 else "classes"
    return f"the {part} part has no image of {len(classes)} {noun}: {_named(classes)}"


def _named(classes: Sequence[str]) -> str:
    more = f" and {len(classes) - SHOWN} more" if len(classes) > SHOWN else ""
    return ", ".join(classes[:SHOWN]) + more
