"""`reslab landscape`: the loss around trained weights, with a bar that says how long it takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend, print_json
from reslab.cli.progress import conduct
from reslab.core.errors import UserError

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--dim", type=int, default=2, show_default=True, help="A plane, or a line: 1.")
@click.option("--grid", type=int, metavar="N", help="Points a side.  [default: 25; 51 for a line]")
@click.option(
    "--range",
    "reach",
    type=float,
    metavar="R",
    default=1.0,
    show_default=True,
    help="From -R to R; 1 is a filter's own norm.",
)
@click.option(
    "--images",
    metavar="N",
    default="1000",
    show_default=True,
    help="Training images, drawn at random, or all.",
)
@click.option("--seeds", type=int, default=1, show_default=True, help="Draws of the directions.")
@click.option(
    "--bn",
    metavar="POLICY",
    default="keep",
    show_default=True,
    help="Batch norm's running statistics: keep them, or recompute them at each point.",
)
@click.option("--curvature", is_flag=True, help="Map the Hessian's extreme eigenvalues as well.")
@click.option(
    "--curvature-grid",
    type=int,
    metavar="N",
    help="Points a side of that map.  [default: 9]",
)
@click.option(
    "--curvature-images",
    type=int,
    metavar="N",
    help="Images of each Hessian.  [default: 250]",
)
@click.option(
    "--trajectory",
    is_flag=True,
    help="Show the training on its principal plane (needs train --keep-checkpoints).",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the study goes.  [default: studies/landscape-..., by what is asked]",
)
@as_json
@backend
def landscape(
    runs: tuple[Path, ...],
    images: str,
    curvature: bool,
    curvature_grid: int | None,
    curvature_images: int | None,
    as_json: bool,
    backend: str | None,
    **options: Any,
) -> None:
    """The loss around a run's weights, or around those of several on one scale.

    Filter-normalised random directions (Li et al. 2018). The defaults take a ResNet-20 minutes on
    two CPU cores; the paper's are --grid 51 --images all. The same command goes on with what was
    interrupted.

    \b
      reslab landscape runs/resnet56 runs/plain56
      reslab landscape runs/resnet20 --trajectory --curvature
    """
    from reslab.runs.run import Run

    for name, value in (("grid", curvature_grid), ("images", curvature_images)):
        if value is not None and not curvature:
            raise UserError(f"--curvature-{name} goes with --curvature")
    opened = [Run.open(run) for run in runs]
    options["images"] = _images(images)

    def run(watch: Watch) -> Study:
        from reslab.studies.landscape import settings
        from reslab.studies.landscape.measure import landscape as measure

        if curvature:
            own = curvature_grid is None
            options["curvature"] = settings.CURVATURE_GRID if own else curvature_grid
            if curvature_images is not None:
                options["curvature_images"] = curvature_images
        return measure(opened, watch=watch, **options)

    _summary(conduct(run, backend), as_json)


def _images(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--images {text}: a number, or all") from None


def _summary(study: Study, as_json: bool) -> None:
    from reslab.studies.landscape import page as showing
    from reslab.studies.landscape import results

    rows = showing.sharpness(study, results.surfaces(study))
    page = study.path / "page.html"
    if as_json:
        print_json({"study": str(study.path), "page": str(page), "sharpness": rows})
        return
    for row in rows:
        said = (f"{key} {_said(value)}" for key, value in row.items() if key != "run")
        click.echo(f"{row['run']}: {', '.join(said)}")
    click.echo(f"page: {page}")


def _said(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"
