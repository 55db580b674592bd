"""`reslab degradation`: plain and residual networks by depth, He et al. 2015, Fig. 6."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reslab.cli.sweep_options import run_sweep, sweep_options
from reslab.core.errors import UserError

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study
    from reslab.studies.sweep.settings import Terms


@click.command()
@click.option(
    "--depths",
    metavar="D,D,...",
    default="20,56",
    show_default=True,
    help="Layers, 6n + 2 each. The paper has 20, 32, 44, 56 and 110.",
)
@sweep_options
def degradation(depths: str, **options: Any) -> None:
    """Train plain and residual networks of the same depths under one recipe.

    Shows whether deeper plain networks have a higher training error, and deeper residual networks
    do not: training and test error by iteration, as in Fig. 6 of He et al. 2015. Run the same
    command again to continue an interrupted study.

    \b
      reslab degradation --data fashion-mnist --depths 20,56 --budget 60
    """
    from reslab.studies.sweep.nets import units

    try:
        layers = [int(text) for text in depths.split(",")]
    except ValueError:
        raise UserError(f"--depths {depths}: write it as --depths 20,56") from None
    for depth in layers:
        units(depth)

    def run(terms: Terms, watch: Watch) -> Study:
        from reslab.studies.degradation.measure import degradation

        return degradation(terms, layers, watch)

    from reslab.studies.degradation.page import lines

    run_sweep(run, lines, **options)
