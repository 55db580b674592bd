"""`reslab lesions`: the error without one unit, or with two units swapped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend, insecure
from reslab.cli.study_options import check_runs, out_folder, run_and_print, run_folders

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study


@click.command()
@run_folders
@click.option(
    "--images", type=int, metavar="N", default=2000, show_default=True, help="Size of the sample."
)
@out_folder
@as_json
@insecure
@backend
def lesions(runs: tuple[Path, ...], as_json: bool, backend: str | None, **options: Any) -> None:
    """Measure the error without one unit, or with two neighbours swapped (Veit et al. 2016).

    A residual unit is replaced by its shortcut. In a plain network the same layers are removed.
    The images are from the validation set if the run has one, else from the training set; never
    from the test set.

    \b
      reslab lesions runs/plain20 runs/resnet20
    """
    check_runs(runs)

    def run(watch: Watch) -> Study:
        from reslab.studies.lesions.measure import measure_lesions

        return measure_lesions(runs, watch=watch, **options)

    run_and_print(run, as_json, backend)
