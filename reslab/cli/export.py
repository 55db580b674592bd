"""`reslab export`: a trained model as a file for another program."""

from __future__ import annotations

from collections.abc import Mapping
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
from reslab.plots.format import interval, percent


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "format",
    metavar="FORMAT",
    default="onnx",
    show_default=True,
    help="onnx, openvino, saved_model, litert, page, hub or triton.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The file to write.")
@network_weights
@weight_options
@click.option(
    "--fixed-size",
    is_flag=True,
    help="Take images of the size of the model: no resizing inside, as batch servers need it.",
)
@click.option(
    "--maps",
    is_flag=True,
    help="Add an output with the class activation maps: where in the picture a class is seen.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Weights and activations in eight bits, calibrated on validation images.",
)
@click.option(
    "--temperature",
    is_flag=True,
    help="Put the temperature of the run's evaluation into the softmax: a better confidence.",
)
@click.option(
    "--data",
    metavar="SOURCE",
    help="Images for the comparison and for --int8, if not those of the run.",
)
@as_json
@insecure
@backend
def export(
    model: Path,
    format: str,
    out: Path | None,
    weights: str | None,
    scheme: str,
    strict: bool,
    ema: bool,
    fixed_size: bool,
    maps: bool,
    int8: bool,
    temperature: bool,
    data: str | None,
    as_json: bool,
    backend: str | None,
) -> None:
    """Export a trained model to a file that needs no reslab.

    MODEL is a run or a model file, or with --weights the name of a network. The file takes pictures
    of any size and gives probabilities. It is compared with Keras before it is put in its place.

    \b
      reslab export runs/resnet20-fashion-mnist-quick-1
    """
    use_backend(backend)
    from reslab.formats.export import export as export_model

    record = export_model(
        model,
        format,
        out,
        weights,
        fixed_size,
        scheme,
        strict,
        ema,
        maps=maps,
        int8=int8,
        data=data,
        temperature=temperature,
    )
    if as_json:
        print_json(record)
    else:
        echo("\n".join(_lines(record)))


def _lines(record: Mapping[str, Any]) -> list[str]:
    """What was written, and how it compares with Keras."""
    lines = [f"{record['file']}: {record['bytes'] / 1e6:.1f} MB in {record['seconds']:.1f} s"]
    difference = record["difference"]
    text = (
        f"compared with Keras on {difference['pictures']} {record['compared_on']}: probabilities "
        f"differ by at most {difference['probabilities']:.1g} of the largest"
    )
    if difference["maps"] is not None:
        text += f", maps by {difference['maps']:.1g}"
    if not record["fixed_size"]:
        text += f", pixels of the resized pictures by at most {difference['pixels']:.0f} of 255"
    lines.append(text)
    if record["temperature"] is not None:
        lines.append(f"the softmax has the temperature {record['temperature']:.4g} inside")
    if record["int8"]:
        lines.append(_int8(record["int8"]))
    if record["fixed_size"]:
        lines.append("it takes images of the size of the model: resize pictures before")
    return lines


def _int8(measured: Mapping[str, Any]) -> str:
    n = measured["images"]
    text = f"on {n:,} {measured['measured_on']}"
    if "error" in measured:
        before, after = (
            f"{percent(rate['value'], n)} ({interval(rate, n)})"
            for rate in (measured["error"]["keras"], measured["error"]["file"])
        )
        text += f" the error was {before} and is {after} in eight bits;"
    return f"{text} {percent(measured['agreement']['value'], n)} of the answers are the same"
