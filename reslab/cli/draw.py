"""`reslab draw`: networks or building blocks as SVG and PNG, without Keras."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.drawing_options import out_stem, print_files
from reslab.cli.options import as_json


@click.command()
@click.argument("names", nargs=-1)
@click.option("--block", "blocks", multiple=True, metavar="NAME", help="Draw a building block.")
@click.option("--size", type=click.IntRange(min=1), metavar="PIXELS", help="Side of the images.")
@out_stem
@as_json
def draw(
    names: tuple[str, ...],
    blocks: tuple[str, ...],
    size: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Draw networks side by side, or building blocks.

    \b
      reslab draw vgg19 plain34 resnet34
      reslab draw --block plain --block basic

    Blocks: plain, basic, projection, option_a, bottleneck, preact, dense, inception, resnext, se,
    gated, characters, characters_printed.
    """
    from reslab.draw import pictures

    if bool(names) == bool(blocks) or (blocks and size):
        raise click.UsageError(
            "name networks (`reslab draw plain34 resnet34`) or blocks (`reslab draw --block basic`)"
        )
    out = out or Path("-".join(names or blocks))
    files = pictures.blocks(blocks, out) if blocks else pictures.networks(names, out, size)
    print_files(files, as_json)
