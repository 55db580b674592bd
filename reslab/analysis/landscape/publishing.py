"""Pictures, files for others and the page of a measured landscape: without Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reslab.analysis import page
from reslab.analysis.landscape import drawing, export, showing, surfaces
from reslab.analysis.study import AGAIN, Study
from reslab.report.words import listed


def publish(study: Study) -> None:
    """All that is made of what was measured, anew."""
    found, at = surfaces.surfaces(study), study.path
    if study.asked["dim"] == 1:
        drawing.lines(at / "lines", found)
    else:
        drawing.contours(at / "contour", found)
        drawing.solids(at / "surface", found)
        for s in found:
            stem = at / f"surface-{s.run}-seed-{s.seed}"
            export.vtk(stem.with_suffix(".vtk"), s)
            export.ply(stem.with_suffix(".ply"), s)
    if curved := surfaces.curvatures(study):
        drawing.ratios(at / "curvature", curved)
    for t in surfaces.trajectories(study):
        drawing.trajectory(at / f"trajectory-{t.run}", t)
        drawing.film(at / f"trajectory-{t.run}.gif", t)
    export.hdf5(at / "landscape.h5", study.asked, _groups(study))
    study.done()
    title = f"The loss around {listed(surfaces.names(study))}"
    lead = "The loss as it looks from the trained weights: a wide valley, or walls?"
    page.write(at / "page.html", title, lead, showing.sections(study), AGAIN)


def _groups(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    for s in surfaces.surfaces(study):
        yield f"surface/{s.run}/seed-{s.seed}", vars(s)
    for c in surfaces.curvatures(study):
        yield f"curvature/{c.run}", {**vars(c), "ratio": c.ratio}
    for t in surfaces.trajectories(study):
        yield f"trajectory/{t.run}", {**vars(t), "names": " ".join(t.names)}
