"""`reslab weights`: files of weights from one library to another."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import as_json, print_json

network_option = click.option(
    "--network", metavar="NAME", help="A name of `reslab list`; default: found by its tensors."
)


@click.group("weights")
def weights() -> None:
    """Files of weights: to another library's names and format, or compared.

    Libraries are torchvision, timm, keras (its applications), keras_hub and reslab itself; formats
    go by the ending: .safetensors, .pth, .weights.h5, .h5, and .keras to read from.
    """


@weights.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--to", "to", metavar="SCHEME", required=True, help="Whose names OUT has.")
@click.option("--from", "named", metavar="SCHEME", default="auto", help="Whose names IN has.")
@network_option
def convert(source: str, out: Path, to: str, named: str, network: str | None) -> None:
    """Write the weights of IN under another library's names."""
    from reslab.weights import conversion

    opened = conversion.convert(source, out, to, network, named)
    theirs = opened.fit.scheme.name
    click.echo(
        f"{out}: {opened.network.name}, {len(opened.fit.mappings)} tensors, {theirs} to {to}"
    )


@weights.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@network_option
@as_json
def compare(one: str, other: str, network: str | None, as_json: bool) -> None:
    """Layer by layer: the largest difference between A and B, whatever their names and formats."""
    from reslab.weights import conversion

    rows = conversion.compare(one, other, network)
    if as_json:
        print_json(rows)
        return
    width = max(len(row["layer"]) for row in rows)
    for row in rows:
        words = row["shapes"] or (f"only in {row['only']}" if row["only"] else "")
        if not words:
            same = row["difference"] == 0
            words = "equal" if same else f"{row['difference']:.3g} of {row['scale']:.3g}"
        click.echo(f"{row['layer']:<{width}}  {words}")
    equal = sum(row["difference"] == 0 and not row["only"] and not row["shapes"] for row in rows)
    click.echo(f"{equal} of {len(rows)} layers are equal")
