"""`reslab benchmark`: a trained model in all formats, measured side by side."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from reslab.cli.options import (
    as_json,
    backend,
    insecure,
    network_weights,
    use_backend,
    weight_options,
)
from reslab.cli.output import echo, print_json
from reslab.cli.tables import make_table, print_table
from reslab.plots.format import NONE, interval, percent


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--formats",
    metavar="LIST",
    help="Such as onnx,openvino-int8.  [default: all that are installed]",
)
@network_weights
@weight_options
@click.option(
    "--data", metavar="SOURCE", help="Images for the error, if not the validation images of MODEL."
)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@as_json
@insecure
@backend
def benchmark(
    model: Path,
    formats: str | None,
    weights: str | None,
    scheme: str,
    strict: bool,
    ema: bool,
    data: str | None,
    rounds: int,
    as_json: bool,
    backend: str | None,
) -> None:
    """Measure a trained model in all formats, side by side.

    MODEL is a run or a model file, or with --weights the name of a network. Each format is exported
    to a temporary folder and compared with Keras; then they take turns, each in its own process.

    \b
      reslab benchmark runs/resnet20-fashion-mnist-quick-1 --formats onnx,onnx-int8
    """
    use_backend(backend)
    from reslab.formats.benchmark import benchmark as measure

    names = formats.split(",") if formats is not None else None
    note = partial(echo, err=True)
    result = measure(model, names, weights, scheme, strict, ema, data, rounds, note=note)
    if as_json:
        print_json(result)
        return
    table = make_table(
        "format", "MB", "ms at 1", "images/s at 32", "at 128", "error", "agreement", numbers=6
    )
    for row in result["rows"]:
        table.add_row(*_cells(row))
    print_table(table)
    echo(_what(result))


def _cells(row: Mapping[str, Any]) -> list[str]:
    seconds, n = row["seconds"], row.get("images")
    error, agreement = row.get("error"), row.get("agreement")
    return [
        row["format"],
        f"{row['bytes'] / 1e6:.1f}",
        f"{1000 * seconds['1']['median']:.2f}",
        f"{32 / seconds['32']['median']:,.0f}",
        f"{128 / seconds['128']['median']:,.0f}",
        f"{percent(error['file']['value'], n)} ({interval(error['file'], n)})" if error else NONE,
        percent(agreement["value"], n) if agreement else NONE,
    ]


def _what(result: Mapping[str, Any]) -> str:
    """What was measured, below the table."""
    height, width, channels = result["image_shape"]
    text = (
        f"images of {height}x{width}x{channels} on {result['machine']['cpu']}, medians of "
        f"{result['rounds']} rounds"
    )
    measured = [row for row in result["rows"] if "images" in row]
    if measured:
        text += f"; error and agreement with Keras on {measured[0]['images']:,} "
        text += f"{measured[0]['measured_on']}"
    return text
