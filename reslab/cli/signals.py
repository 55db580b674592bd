"""`reslab signals`, `responses` and `lesions`: what flows through deep nets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reslab.cli.options import as_json, backend
from reslab.cli.studies import _check_runs, _conduct, out
from reslab.core.errors import UserError

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study


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
            from reslab.studies.signals.measure_twins import signals

            return signals(names[0], watch=watch, **given)
    else:
        for name in ("recipe", "seeds", "steps"):
            if name in given:
                raise UserError(
                    f"--{name} goes with a network and --data; a run is trained already"
                )
        _check_runs(names)

        def run(watch: Watch) -> Study:
            from reslab.studies.signals.measure_runs import signals_of

            return signals_of(names, watch=watch, **given)

    _conduct(run, as_json, backend)
