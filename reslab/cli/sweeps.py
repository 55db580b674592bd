"""`reslab degradation` and `reslab ablate`: several networks under one recipe."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend, pair, print_json
from reslab.cli.progress import conduct
from reslab.errors import UserError

if TYPE_CHECKING:
    from reslab.analysis.study import Study
    from reslab.analysis.sweep.terms import Terms
    from reslab.analysis.watch import Watch

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


@click.command()
@click.option(
    "--depths",
    metavar="D,D,...",
    default="20,56",
    show_default=True,
    help="Layers, 6n + 2 each: 20, 32, 44, 56, 110 in the paper.",
)
@shared
def degradation(depths: str, **options: Any) -> None:
    """Do deeper plain nets train worse, and deeper residual nets not?

    Trains plain and residual nets of the same layers under one recipe, with training and test error
    by iteration, as Fig. 6 of He 2015. The same command goes on with what was interrupted.

    \b
      reslab degradation --data fashion-mnist --depths 20,56 --budget 60
    """
    from reslab.analysis.sweep.nets import units

    try:
        asked = [int(word) for word in depths.split(",")]
    except ValueError:
        raise UserError(f"--depths {depths}: write it as --depths 20,56") from None
    for depth in asked:
        units(depth)

    def run(terms: Terms, watch: Watch) -> Study:
        from reslab.analysis.degradation import degradation

        return degradation(terms, asked, watch)

    from reslab.analysis.degradation import lines

    _conduct(run, lines, **options)


@click.command()
@click.argument("what")
@click.option(
    "--depth",
    type=int,
    metavar="D",
    default=110,
    show_default=True,
    help="Layers, 6n + 2; for activations also 164, the bottleneck net.",
)
@shared
def ablate(what: str, depth: int, **options: Any) -> None:
    """Train the variants of a residual unit beside the published errors.

    WHAT is shortcuts (Identity Mappings, Table 1) or activations (Table 2). The same command goes
    on with what was interrupted.

    \b
      reslab ablate activations --data fashion-mnist --depth 20 --budget 60
    """
    from reslab.analysis.ablation import check, lines

    check(what, depth)

    def run(terms: Terms, watch: Watch) -> Study:
        from reslab.analysis.ablation import ablation

        return ablation(what, terms, depth, watch)

    _conduct(run, lines, **options)


COMMANDS = degradation, ablate


def _conduct(
    run: Callable[[Terms, Watch], Study],
    lines: Callable[[Study], list[str]],
    as_json: bool,
    backend: str | None,
    changes: tuple[str, ...],
    **options: Any,
) -> None:
    """Run a study with a bar; print what it found, or how to go on with it."""
    from reslab.analysis.sweep.terms import Terms

    terms = Terms(changes=dict(map(pair, changes)), **options)
    terms.chosen()  # what is wrong with the recipe is said before Keras is loaded
    study = conduct(lambda watch: run(terms, watch), backend)
    if as_json:
        print_json({"study": str(study.path), **study.info["found"]})
        return
    for line in lines(study):
        click.echo(line)
    click.echo(f"page: {study.path / 'page.html'}")
