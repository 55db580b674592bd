"""The pictures and the page of these studies: from the folder alone, without Keras."""

from __future__ import annotations

import importlib

from reslab.plots import figure_matplotlib
from reslab.report import sections
from reslab.studies.folder import AGAIN, Study
from reslab.studies.registry import SHOWING

TITLES = {
    "signals": "Signals by depth",
    "responses": "Layer responses",
    "lesions": "Lesions: nets without one of their units",
}


def finished(study: Study) -> Study:
    """The study with its pictures, its page, and what it found in study.json."""
    home = importlib.import_module(SHOWING[study.kind])
    for stem, figure in home.figures(study).items():
        figure_matplotlib.render(figure, study.path / stem)
    names = study.asked.get("network") or ", ".join(r["run"] for r in study.asked.get("runs", []))
    lead = f"{names}, measured with reslab on the {study.info['backend']} backend"
    place = study.info.get("machine") or {}
    lead += f", {place['cpu']}." if place.get("cpu") else "."
    study.done(found=home.found(study))
    sections.write(study.path / "page.html", TITLES[study.kind], lead, home.sections(study), AGAIN)
    return study
