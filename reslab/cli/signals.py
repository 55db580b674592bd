"""`reslab signals`: gradients and activations by layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend, insecure
from reslab.cli.study_options import check_runs, out_folder, run_and_print
from reslab.core.errors import UserError

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NETWORK | RUN...")
@click.option(
    "--data", metavar="SOURCE", help="With a network: a name from `reslab list`, or a folder."
)
@click.option(
    "--recipe", metavar="R", help="With a network: a name, or a .toml file.  [paper-cifar]"
)
@click.option("--seeds", type=int, metavar="N", help="With a network: initialisations.  [3]")
@click.option("--steps", type=int, metavar="N", help="With a network: training steps.  [0]")
@click.option("--images", type=int, metavar="N", help="Images in the batch.  [128]")
@out_folder
@as_json
@insecure
@backend
def signals(names: tuple[str, ...], as_json: bool, backend: str | None, **options: Any) -> None:
    """Measure gradients and activations by layer, of a network and its twins or of trained runs.

    NETWORK is a residual network of `reslab list`. It is measured at initialisation beside its
    plain twin, both with and without batch norm; with --steps also during training. A RUN is
    measured at every epoch whose checkpoint was kept, else at the chosen epoch. Run the same
    command again to continue an interrupted study.

    \b
      reslab signals resnet56 --data fashion-mnist --steps 200
      reslab signals runs/resnet20-fashion-mnist-quick-1
    """
    settings = {name: value for name, value in options.items() if value is not None}
    run = _measure_twins if "data" in settings else _measure_runs
    run_and_print(run(names, settings), as_json, backend)


def _measure_twins(names: tuple[str, ...], settings: Mapping[str, Any]) -> Callable[[Watch], Study]:
    if len(names) > 1:
        raise UserError("--data goes with one network: reslab signals NETWORK --data SOURCE")
    from reslab.zoo import network

    network(names[0])  # an unknown name is reported before Keras is loaded

    def run(watch: Watch) -> Study:
        from reslab.studies.signals.measure import measure_twins

        return measure_twins(names[0], watch=watch, **settings)

    return run


def _measure_runs(names: tuple[str, ...], settings: Mapping[str, Any]) -> Callable[[Watch], Study]:
    for name in ("recipe", "seeds", "steps"):
        if name in settings:
            raise UserError(f"--{name} goes with a network and --data; a run is trained already")
    check_runs(names)

    def run(watch: Watch) -> Study:
        from reslab.studies.signals.measure import measure_runs

        return measure_runs(names, watch=watch, **settings)

    return run
