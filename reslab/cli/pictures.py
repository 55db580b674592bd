"""Options that the commands which draw share."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import print_json

STEM = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="STEM",
    help="Writes STEM.svg and STEM.png; default: what is drawn, here.",
)


def _say(files: tuple[Path, ...], as_json: bool) -> None:
    if as_json:
        print_json({file.suffix[1:]: str(file) for file in files})
        return
    for file in files:
        click.echo(f"picture: {file}")
