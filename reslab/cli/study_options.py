"""What the commands of studies share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.output import echo, print_json
from reslab.cli.progress import run_study
from reslab.core.errors import UserError

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study

out_folder = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the study.  [default: studies/..., named after the settings]",
)
run_folders = click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))


def check_runs(names: tuple[Any, ...]) -> None:
    """Raise UserError for a path that is not a run, before Keras is loaded."""
    from reslab.runs.run import Run
    from reslab.zoo import NETWORKS

    for name in names:
        if str(name) in NETWORKS and not Path(name).exists():
            raise UserError(f"{name} is a network: add --data SOURCE, or name a run")
        Run.open(name)


def run_and_print(run: Callable[[Watch], Study], as_json: bool, backend: str | None) -> None:
    """Run a study with a progress bar, then print where its page is."""
    study = run_study(run, backend)
    if as_json:
        print_json({"study": str(study.path), **study.info["found"]})
    else:
        echo(f"page: {study.path / 'page.html'}")
