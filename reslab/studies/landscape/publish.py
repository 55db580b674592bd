"""Pictures, files for others and the page of a measured landscape: without Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reslab.plots.figure_matplotlib import film, render
from reslab.plots.format import listed
from reslab.report import sections
from reslab.studies.folder import RESUME_HINT, Study
from reslab.studies.landscape import (
    export,
    figures,
    results,
)
from reslab.studies.landscape import (
    page as showing,
)


def publish(study: Study) -> None:
    """All that is made of what was measured, anew."""
    found, at = results.surfaces(study), study.path
    if study.settings["dim"] == 1:
        render(figures.lines(found), at / "lines")
    else:
        render(figures.contours(found), at / "contour")
        render(figures.solids(found), at / "surface")
        for s in found:
            stem = at / f"surface-{s.run}-seed-{s.seed}"
            export.vtk(stem.with_suffix(".vtk"), s)
            export.ply(stem.with_suffix(".ply"), s)
    if curved := results.curvatures(study):
        render(figures.ratios(curved), at / "curvature")
    for t in results.trajectories(study):
        render(figures.training(t), at / f"trajectory-{t.run}")
        film(at / f"trajectory-{t.run}.gif", figures.frames(t))
    export.hdf5(at / "landscape.h5", study.settings, _groups(study))
    study.mark_done()
    title = f"The loss around {listed(results.names(study))}"
    lead = "The loss as it looks from the trained weights: a wide valley, or walls?"
    sections.write(at / "page.html", title, lead, showing.sections(study), RESUME_HINT)


def _groups(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    for s in results.surfaces(study):
        yield f"surface/{s.run}/seed-{s.seed}", vars(s)
    for c in results.curvatures(study):
        yield f"curvature/{c.run}", {**vars(c), "ratio": c.ratio}
    for t in results.trajectories(study):
        yield f"trajectory/{t.run}", {**vars(t), "names": " ".join(t.names)}
