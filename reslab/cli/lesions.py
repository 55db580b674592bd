"""`reslab lesions`: the error without single units."""

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
@click.option("--images", type=int, metavar="N", default=2000, show_default=True, help="A sample.")
@out
@as_json
@backend
def lesions(runs: tuple[Path, ...], as_json: bool, backend: str | None, **options: Any) -> None:
    """The error without one unit, or with two neighbours swapped: Veit et al. 2016.

    A residual unit becomes its shortcut; of a plain net the same layers are taken out. Measured on
    validation images where the run has them, else on training images; never on the test set.

    \b
      reslab lesions runs/plain20 runs/resnet20
    """
    _check_runs(runs)

    def run(watch: Watch) -> Study:
        from reslab.studies.lesions.measure import lesions

        return lesions(runs, watch=watch, **options)

    _conduct(run, as_json, backend)
