"""`reslab signals`, `responses` and `lesions`: what flows through deep nets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend, print_json
from reslab.cli.progress import conduct
from reslab.errors import UserError

if TYPE_CHECKING:
    from reslab.analysis.study import Study
    from reslab.analysis.watch import Watch

out = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the study goes.  [default: studies/..., by what is asked]",
)
runs = click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NETWORK | RUN...")
@click.option("--data", metavar="SOURCE", help="For a network: a name of `reslab list`, a folder.")
@click.option("--recipe", metavar="R", help="For a network: a name, or a .toml.  [paper-cifar]")
@click.option("--seeds", type=int, metavar="N", help="For a network: initialisations.  [3]")
@click.option("--steps", type=int, metavar="N", help="For a network: measure in training.  [0]")
@click.option("--images", type=int, metavar="N", help="In the batch.  [128]")
@out
@as_json
@backend
def signals(names: tuple[str, ...], as_json: bool, backend: str | None, **options: Any) -> None:
    """Gradients and activations by layer, of a net's twins or of trained runs.

    NETWORK is a residual net of `reslab list`: it is measured at initialisation beside its plain
    twin, both with and without batch norm, and with --steps in training as well. A RUN is measured
    at every epoch that was kept, else as it was judged. The same command goes on with a study.

    \b
      reslab signals resnet56 --data fashion-mnist --steps 200
      reslab signals runs/resnet20-fashion-mnist-quick-1
    """
    given = {name: value for name, value in options.items() if value is not None}
    if "data" in given:
        if len(names) > 1:
            raise UserError("--data goes with one network: reslab signals NETWORK --data SOURCE")
        from reslab.zoo import network

        network(names[0])  # an unknown name is answered before Keras is loaded

        def run(watch: Watch) -> Study:
            from reslab.analysis.signals import signals

            return signals(names[0], watch=watch, **given)
    else:
        for name in ("recipe", "seeds", "steps"):
            if name in given:
                raise UserError(
                    f"--{name} goes with a network and --data; a run is trained already"
                )
        _check_runs(names)

        def run(watch: Watch) -> Study:
            from reslab.analysis.signals import signals_of

            return signals_of(names, watch=watch, **given)

    _conduct(run, as_json, backend)


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
        from reslab.analysis.signals import responses

        return responses(runs, watch=watch, **options)

    _conduct(run, as_json, backend)


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
        from reslab.analysis.signals import lesions

        return lesions(runs, watch=watch, **options)

    _conduct(run, as_json, backend)


COMMANDS = signals, responses, lesions


def _check_runs(names: tuple[Any, ...]) -> None:
    """What is no run is answered before Keras is loaded."""
    from reslab.run import Run
    from reslab.zoo import NETWORKS

    for name in names:
        if str(name) in NETWORKS and not Path(name).exists():
            raise UserError(f"{name} is a network: add --data SOURCE, or name a run")
        Run.open(name)


def _conduct(run: Callable[[Watch], Study], as_json: bool, backend: str | None) -> None:
    """Run a study; say where it is."""
    study = conduct(run, backend)
    if as_json:
        print_json({"study": str(study.path), **study.info["found"]})
    else:
        click.echo(f"page: {study.path / 'page.html'}")
