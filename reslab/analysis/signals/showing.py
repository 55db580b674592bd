"""The pictures and the page of these studies: from the folder alone, without Keras."""

from __future__ import annotations

import importlib
from typing import Any

from reslab.analysis import page
from reslab.analysis.page import Section
from reslab.analysis.signals import pictures
from reslab.analysis.study import AGAIN, Study

HOMES = {
    kind: f"reslab.analysis.signals.show_{kind}" for kind in ("signals", "responses", "lesions")
}
TITLES = {
    "signals": "Signals by depth",
    "responses": "Layer responses",
    "lesions": "Lesions: nets without one of their units",
}


def _home(study: Study) -> Any:
    return importlib.import_module(HOMES[study.kind])


def sections(study: Study) -> list[Section]:
    """What the study shows; raises UserError where its folder is damaged."""
    found: list[Section] = _home(study).sections(study)
    return found


def command(study: Study) -> tuple[str, ...]:
    """What measured the study, where that was a command."""
    return (str(study.info["command"]),) if study.info.get("command") else ()


def finished(study: Study) -> Study:
    """The study with its pictures, its page, and what it found in study.json."""
    home = _home(study)
    for stem, figure in home.figures(study).items():
        pictures.draw(figure, study.path / stem)
    names = study.asked.get("network") or ", ".join(r["run"] for r in study.asked.get("runs", []))
    lead = f"{names}, measured with reslab on the {study.info['backend']} backend"
    place = study.info.get("machine") or {}
    lead += f", {place['cpu']}." if place.get("cpu") else "."
    study.done(found=home.found(study))
    page.write(study.path / "page.html", TITLES[study.kind], lead, sections(study), AGAIN)
    return study
