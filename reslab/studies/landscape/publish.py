"""Pictures, exported files and the page of a measured landscape, without Keras."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reslab.plots.figure_matplotlib import film, render
from reslab.plots.format import listed
from reslab.report import sections
from reslab.studies.folder import RESUME_HINT, Study
from reslab.studies.landscape import export, figures, page, results


def publish(study: Study) -> None:
    """Write everything that is made from the measured points, and mark the study as done."""
    surfaces, folder = results.surfaces(study), study.path
    if study.settings["dim"] == 1:
        render(figures.lines(surfaces), folder / "lines")
    else:
        render(figures.contours(surfaces), folder / "contour")
        render(figures.solids(surfaces), folder / "surface")
        for s in surfaces:
            stem = folder / f"surface-{s.run}-seed-{s.seed}"
            export.vtk(stem.with_suffix(".vtk"), s)
            export.ply(stem.with_suffix(".ply"), s)
    if curvatures := results.curvatures(study):
        render(figures.ratios(curvatures), folder / "curvature")
    for t in results.trajectories(study):
        render(figures.training(t), folder / f"trajectory-{t.run}")
        film(folder / f"trajectory-{t.run}.gif", figures.frames(t))
    export.hdf5(folder / "landscape.h5", study.settings, _groups(study))
    study.mark_done()
    title = f"The loss around {listed(results.names(study))}"
    lead = "The loss around the trained weights: a wide valley, or steep walls?"
    sections.write(folder / "page.html", title, lead, page.sections(study), RESUME_HINT)


def _groups(study: Study) -> Iterator[tuple[str, dict[str, Any]]]:
    for s in results.surfaces(study):
        yield f"surface/{s.run}/seed-{s.seed}", vars(s)
    for c in results.curvatures(study):
        yield f"curvature/{c.run}", {**vars(c), "ratio": c.ratio}
    for t in results.trajectories(study):
        yield f"trajectory/{t.run}", {**vars(t), "names": " ".join(t.names)}
