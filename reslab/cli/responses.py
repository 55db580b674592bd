"""`reslab responses`: He et al. 2015, Fig. 7."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend
from reslab.cli.studies import _check_runs, _conduct, out, runs

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study


@click.command()
@runs
@click.option(
    "--split",
    type=click.Choice(["train", "validation"]),
    default="train",
    show_default=True,
    help="The images, un-augmented.",
)
@click.option("--images", type=int, metavar="N", default=1000, show_default=True, help="A sample.")
@out
@as_json
@backend
def responses(runs: tuple[Path, ...], as_json: bool, backend: str | None, **options: Any) -> None:
    """Layer responses of trained runs, as the Figure 7 of He 2015 has them.

    The outputs of every 3x3 layer after batch norm and before what follows, over all images,
    positions and maps, in layer order and sorted.

    \b
      reslab responses runs/plain20 runs/resnet20 runs/resnet56
    """
    _check_runs(runs)

    def run(watch: Watch) -> Study:
        from reslab.studies.responses.measure import responses

        return responses(runs, watch=watch, **options)

    _conduct(run, as_json, backend)
