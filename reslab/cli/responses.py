"""`reslab responses`: standard deviations of layer responses, He et al. 2015, Fig. 7."""

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
    "--split",
    type=click.Choice(["train", "validation"]),
    default="train",
    show_default=True,
    help="The images, without augmentation.",
)
@click.option(
    "--images", type=int, metavar="N", default=1000, show_default=True, help="Size of the sample."
)
@out_folder
@as_json
@insecure
@backend
def responses(runs: tuple[Path, ...], as_json: bool, backend: str | None, **options: Any) -> None:
    """Measure the layer responses of trained runs (He et al. 2015, Fig. 7).

    A response is the output of a 3x3 convolution after batch norm and before the activation or the
    addition. Its standard deviation over all images, positions and channels is shown in the order
    of the layers, and sorted.

    \b
      reslab responses runs/plain20 runs/resnet20 runs/resnet56
    """
    check_runs(runs)

    def run(watch: Watch) -> Study:
        from reslab.studies.responses.measure import measure_responses

        return measure_responses(runs, watch=watch, **options)

    run_and_print(run, as_json, backend)
