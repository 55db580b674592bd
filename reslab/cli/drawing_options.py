"""What the commands that write pictures share."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.output import echo, print_json

out_stem = click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="STEM",
    help="Write STEM.svg and STEM.png.  [default: the names of what is drawn]",
)


def print_files(files: tuple[Path, ...], as_json: bool) -> None:
    """Print the files that were written, as lines or as JSON by their endings."""
    if as_json:
        print_json({file.suffix[1:]: str(file) for file in files})
        return
    for file in files:
        echo(f"picture: {file}")
