"""`reslab ablate`: the tables of Identity Mappings (He et al. 2016)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from reslab.cli.sweep_options import run_sweep, sweep_options

if TYPE_CHECKING:
    from reslab.core.progress import Watch
    from reslab.studies.folder import Study
    from reslab.studies.sweep.settings import Terms


@click.command()
@click.argument("what")
@click.option(
    "--depth",
    type=int,
    metavar="D",
    default=110,
    show_default=True,
    help="Layers, 6n + 2; for activations also 164, the bottleneck network.",
)
@sweep_options
def ablate(what: str, depth: int, **options: Any) -> None:
    """Train the variants of a residual unit, beside the published errors.

    WHAT is shortcuts (Identity Mappings, Table 1) or activations (Table 2). Run the same command
    again to continue an interrupted study.

    \b
      reslab ablate activations --data fashion-mnist --depth 20 --budget 60
    """
    from reslab.studies.ablation.page import lines
    from reslab.studies.ablation.variants import check

    check(what, depth)

    def run(terms: Terms, watch: Watch) -> Study:
        from reslab.studies.ablation.measure import ablation

        return ablation(what, terms, depth, watch)

    run_sweep(run, lines, **options)
