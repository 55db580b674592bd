"""`reslab track`: runs that are over, sent to a tracker."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.output import echo


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--to",
    metavar="NAME",
    required=True,
    multiple=True,
    help="tensorboard, mlflow, wandb or trackio; several with commas.",
)
def track(runs: tuple[Path, ...], to: tuple[str, ...]) -> None:
    """Send runs to an experiment tracker.

    A tracker gets the log, the configuration, the evaluation and the report. What it has already is
    not sent again. `reslab train` has --track for a training that begins.

    \b
      reslab track runs/* --to tensorboard
    """
    from reslab.core.errors import UserError
    from reslab.runs.options import names
    from reslab.runs.run import Run
    from reslab.trackers.base import require
    from reslab.trackers.following import track as track_run

    chosen = names(to)
    if not chosen:
        raise UserError("name a tracker: --to tensorboard, mlflow, wandb or trackio")
    require(chosen)
    for run in [Run.open(path) for path in runs]:
        for name in chosen:
            answer = track_run(run, name)
            rows = answer.get("sent", 0)
            sent = f"{rows:,} {'row' if rows == 1 else 'rows'} sent" if rows else "nothing new"
            echo(f"{run.path}: {name}: {sent}: {answer['place']}")
