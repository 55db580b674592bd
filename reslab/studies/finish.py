"""Finish a study of trained runs or of a network: its pictures, its summary and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reslab.plots import figure_matplotlib
from reslab.plots.figure import Figure
from reslab.report import sections as report
from reslab.report.sections import Section
from reslab.studies.folder import RESUME_HINT, Study


def finish(
    study: Study,
    title: str,
    figures: Mapping[str, Figure],
    sections: Sequence[Section],
    summary: Mapping[str, Any],
) -> Study:
    """Draw the figures, write the page, and store the summary in study.json ("found")."""
    for stem, figure in figures.items():
        figure_matplotlib.render(figure, study.path / stem)
    study.mark_done(found=summary)
    report.write(study.path / "page.html", title, _lead(study), sections, RESUME_HINT)
    return study


def _lead(study: Study) -> str:
    settings, machine = study.settings, study.info.get("machine") or {}
    names = settings.get("network") or ", ".join(run["run"] for run in settings.get("runs", []))
    cpu = f", {machine['cpu']}" if machine.get("cpu") else ""
    return f"{names}, measured with reslab on the {study.info['backend']} backend{cpu}."
