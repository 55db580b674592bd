"""`reslab chart depth`: ILSVRC errors by year and depth."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.drawing_options import out_stem, print_files
from reslab.cli.options import as_json
from reslab.core.errors import unknown


@click.command()
@click.argument("what", metavar="depth")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@out_stem
@as_json
def chart(what: str, runs: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Draw the "revolution of depth": ILSVRC top-5 errors by year.

    RUNS that were evaluated on ImageNet appear beside the published errors.
    """
    from reslab import draw

    if what != "depth":
        raise unknown("chart", what, ["depth"])
    print_files(draw.depth(out or Path("depth"), runs), as_json)
