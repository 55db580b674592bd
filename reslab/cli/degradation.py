"""`reslab degradation`: plain and residual networks by depth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reslab.cli.sweeps import _conduct, shared
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
    from reslab.studies.sweep.nets import units

    try:
        asked = [int(word) for word in depths.split(",")]
    except ValueError:
        raise UserError(f"--depths {depths}: write it as --depths 20,56") from None
    for depth in asked:
        units(depth)

    def run(terms: Terms, watch: Watch) -> Study:
        from reslab.studies.degradation import degradation

        return degradation(terms, asked, watch)

    from reslab.studies.degradation import lines

    _conduct(run, lines, **options)
