"""`reslab degradation` and `reslab ablate`: several networks under one recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend, pair, print_json
from reslab.cli.progress import conduct

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study
    from reslab.studies.sweep.settings import Terms

OPTIONS = (
    click.option(
        "--data", metavar="SOURCE", required=True, help="A name of `reslab list`, or a folder."
    ),
    click.option(
        "--budget",
        type=float,
        metavar="MINUTES",
        help="Choose epochs, images and width to fit, and say so before it starts.",
    ),
    click.option("--seeds", type=int, default=1, show_default=True, help="Trainings of each net."),
    click.option("--epochs", type=float, metavar="N", help="Length; the schedule is rescaled."),
    click.option("--images", type=int, metavar="N", help="Train on a sample of so many."),
    click.option("--width", type=float, metavar="X", help="A factor to the filters 16, 32, 64."),
    click.option(
        "--recipe",
        metavar="R",
        default="paper-cifar",
        show_default=True,
        help="A name, or a .toml file.",
    ),
    click.option(
        "--set", "changes", metavar="FIELD=VALUE", multiple=True, help="Change the recipe."
    ),
    click.option("--keep-checkpoints", is_flag=True, help="Keep the weights of every epoch."),
    click.option(
        "--out",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="Where the study goes.  [default: studies/..., by what is asked]",
    ),
    as_json,
    backend,
)


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def _conduct(
    run: Callable[[Terms, Watch], Study],
    lines: Callable[[Study], list[str]],
    as_json: bool,
    backend: str | None,
    changes: tuple[str, ...],
    **options: Any,
) -> None:
    """Run a study with a bar; print what it found, or how to go on with it."""
    from reslab.studies.sweep.settings import Terms

    terms = Terms(changes=dict(map(pair, changes)), **options)
    terms.chosen()  # what is wrong with the recipe is said before Keras is loaded
    study = conduct(lambda watch: run(terms, watch), backend)
    if as_json:
        print_json({"study": str(study.path), **study.info["found"]})
        return
    for line in lines(study):
        click.echo(line)
    click.echo(f"page: {study.path / 'page.html'}")
