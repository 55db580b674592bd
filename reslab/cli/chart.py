"""`reslab chart`: ILSVRC errors by year and depth."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import as_json
from reslab.cli.pictures import STEM, _say
from reslab.core.errors import unknown


@click.command()
@click.argument("what", metavar="depth")
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@STEM
@as_json
def chart(what: str, runs: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """The "revolution of depth": ILSVRC top-5 errors by year.

    The top-5 errors of RUNS, evaluated, stand beside the published ones.
    """
    from reslab.draw import depth

    if what != "depth":
        raise unknown("chart", what, ["depth"])
    _say(depth(out or Path("depth"), runs), as_json)
