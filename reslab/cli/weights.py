"""`reslab weights`: convert and compare files of weights."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import as_json
from reslab.cli.output import echo, print_json

network_option = click.option(
    "--network",
    metavar="NAME",
    help="A name from `reslab list`.  [default: recognised by its tensors]",
)


@click.group("weights")
def weights() -> None:
    """Convert files of weights to another library's names and format, or compare two files.

    Libraries are torchvision, timm, keras (keras.applications), keras_hub and reslab itself. The
    ending of the file gives the format: .safetensors, .pth, .weights.h5 or .h5; .keras can be read.
    """


@weights.command()
@click.argument("source", metavar="IN")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
@click.option(
    "--to", "to", metavar="SCHEME", required=True, help="The library whose names OUT has."
)
@click.option(
    "--from",
    "scheme",
    metavar="SCHEME",
    default="auto",
    show_default=True,
    help="The library whose names IN has.",
)
@network_option
@click.option(
    "--ema/--no-ema",
    default=True,
    show_default=True,
    help="Of IN with averages over training steps: take the averages.",
)
def convert(source: str, out: Path, to: str, scheme: str, network: str | None, ema: bool) -> None:
    """Write the weights of IN under another library's names."""
    from reslab.weights import conversion

    opened = conversion.convert(source, out, to, network, scheme, ema)
    source_scheme = opened.fit.scheme.name
    echo(
        f"{out}: {opened.network.name}, {len(opened.fit.mappings)} tensors, {source_scheme} to {to}"
    )


@weights.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@network_option
@as_json
def compare(one: str, other: str, network: str | None, as_json: bool) -> None:
    """Print the largest difference between A and B for each layer.

    The names and the formats of the two files may differ.
    """
    from reslab.weights import conversion

    rows = conversion.compare(one, other, network)
    if as_json:
        print_json(rows)
        return
    width = max(len(row["layer"]) for row in rows)
    for row in rows:
        text = row["shapes"] or (f"only in {row['only']}" if row["only"] else "")
        if not text:
            is_equal = row["difference"] == 0
            text = "equal" if is_equal else f"{row['difference']:.3g} of {row['scale']:.3g}"
        echo(f"{row['layer']:<{width}}  {text}")
    equal = sum(row["difference"] == 0 and not row["only"] and not row["shapes"] for row in rows)
    echo(f"{equal} of {len(rows)} layers are equal")
