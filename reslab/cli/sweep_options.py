"""What `reslab degradation` and `reslab ablate` share: several networks under one recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend, field_and_value, insecure
from reslab.cli.output import echo, print_json
from reslab.cli.progress import run_study
from reslab.cli.study_options import out_folder

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study
    from reslab.studies.sweep.settings import Terms

OPTIONS = (
    click.option(
        "--data", metavar="SOURCE", required=True, help="A name from `reslab list`, or a folder."
    ),
    click.option(
        "--budget",
        type=float,
        metavar="MINUTES",
        help="Choose epochs, images and width to fit, and print them before training.",
    ),
    click.option("--seeds", type=int, default=1, show_default=True, help="Runs of each network."),
    click.option("--epochs", type=float, metavar="N", help="Length; the schedule is rescaled."),
    click.option("--images", type=int, metavar="N", help="Train on a sample of N images."),
    click.option(
        "--width", type=float, metavar="X", help="Multiply the filters 16, 32 and 64 by X."
    ),
    click.option(
        "--recipe",
        metavar="R",
        default="paper-cifar",
        show_default=True,
        help="A name of `reslab recipes`, or a .toml file.",
    ),
    click.option(
        "--set",
        "changes",
        metavar="FIELD=VALUE",
        multiple=True,
        help="Change a field of the recipe; `reslab recipes R` lists them.",
    ),
    click.option("--keep-checkpoints", is_flag=True, help="Keep the weights of every epoch."),
    out_folder,
    as_json,
    insecure,
    backend,
)


def sweep_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options to a command."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def run_sweep(
    run: Callable[[Terms, Watch], Study],
    lines: Callable[[Study], list[str]],
    as_json: bool,
    backend: str | None,
    changes: tuple[str, ...],
    **options: Any,
) -> None:
    """Run a study with a progress bar, then print its results and where its page is.

    Args:
        run: Trains the networks with these settings.
        lines: The lines to print of a finished study.
        as_json: Print JSON instead.
        backend: A name, or None for the default.
        changes: Changes of the recipe, as "field=value".
        options: The other settings.
    """
    from reslab.studies.sweep.settings import Terms

    terms = Terms(changes=dict(map(field_and_value, changes)), **options)
    terms.full_recipe()  # an error in the recipe is reported before Keras is loaded
    study = run_study(lambda watch: run(terms, watch), backend)
    if as_json:
        print_json({"study": str(study.path), **study.info["found"]})
        return
    for line in lines(study):
        echo(line)
    echo(f"page: {study.path / 'page.html'}")
