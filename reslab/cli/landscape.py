"""`reslab landscape`: the loss around trained weights (Li et al. 2018)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend, insecure
from reslab.cli.output import echo, print_json
from reslab.cli.progress import run_study
from reslab.cli.study_options import out_folder, run_folders
from reslab.core.errors import UserError

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study


@click.command()
@run_folders
@click.option("--dim", type=int, default=2, show_default=True, help="2 for a plane, 1 for a line.")
@click.option("--grid", type=int, metavar="N", help="Points a side.  [default: 25; 51 for a line]")
@click.option(
    "--range",
    "reach",
    type=float,
    metavar="R",
    default=1.0,
    show_default=True,
    help="From -R to R; 1 is the norm of each filter.",
)
@click.option(
    "--images",
    metavar="N",
    default="1000",
    show_default=True,
    help="Training images, drawn at random; or all.",
)
@click.option("--seeds", type=int, default=1, show_default=True, help="Draws of the directions.")
@click.option(
    "--bn",
    metavar="POLICY",
    default="keep",
    show_default=True,
    help="Running mean and variance: keep them, or recompute them at each point.",
)
@click.option(
    "--curvature", is_flag=True, help="Map the extreme eigenvalues of the Hessian as well."
)
@click.option(
    "--curvature-grid", type=int, metavar="N", help="Points a side of that map.  [default: 9]"
)
@click.option(
    "--curvature-images", type=int, metavar="N", help="Images of each Hessian.  [default: 250]"
)
@click.option(
    "--trajectory",
    is_flag=True,
    help="Show the training on its principal plane (needs train --keep-checkpoints).",
)
@out_folder
@as_json
@insecure
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
    """Measure the loss around the weights of runs, on one scale.

    The directions are random and filter-normalised (Li et al. 2018). With the defaults a ResNet-20
    takes minutes on two CPU cores. The paper has --grid 51 --images all. Run the same command again
    to continue an interrupted study.

    \b
      reslab landscape runs/resnet56 runs/plain56
      reslab landscape runs/resnet20 --trajectory --curvature
    """
    from reslab.runs.run import Run

    for name, value in (("grid", curvature_grid), ("images", curvature_images)):
        if value is not None and not curvature:
            raise UserError(f"--curvature-{name} goes with --curvature")
    opened = [Run.open(run) for run in runs]
    options["images"] = _image_count(images)

    def run(watch: Watch) -> Study:
        from reslab.studies.landscape import settings
        from reslab.studies.landscape.measure import landscape as measure

        if curvature:
            options["curvature"] = (
                settings.CURVATURE_GRID if curvature_grid is None else curvature_grid
            )
            if curvature_images is not None:
                options["curvature_images"] = curvature_images
        return measure(opened, watch=watch, **options)

    _print_summary(run_study(run, backend), as_json)


def _image_count(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--images {text}: write a number, or all") from None


def _print_summary(study: Study, as_json: bool) -> None:
    from reslab.studies.landscape import page, results

    surfaces = results.surfaces(study)
    path = study.path / "page.html"
    if as_json:
        rows = page.sharpness(study, surfaces)
        print_json({"study": str(study.path), "page": str(path), "sharpness": rows})
        return
    for texts in page.sharpness_texts(study, surfaces):
        run = f"{texts.pop('run')}, seed {texts.pop('seed')}"
        echo(f"{run}; {', '.join(f'{key}: {text}' for key, text in texts.items())}")
    echo(f"page: {path}")
