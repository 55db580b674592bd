"""`reslab export`: a trained model as a file for another program."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import as_json, backend, insecure, use_backend, weight_options
from reslab.cli.output import echo, print_json


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--to",
    "format",
    metavar="FORMAT",
    default="onnx",
    show_default=True,
    help="onnx or openvino.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="The file to write.")
@click.option(
    "--weights", metavar="W", help="timm/NAME, torchvision/VERSION, keras/imagenet, or a file."
)
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

    record = export_model(model, format, out, weights, fixed_size, scheme, strict, ema, maps=maps)
    if as_json:
        print_json(record)
        return
    difference = record["difference"]
    echo(f"{record['file']}: {record['bytes'] / 1e6:.1f} MB in {record['seconds']:.1f} s")
    text = (
        f"compared with Keras on {difference['pictures']} {record['compared_on']}: probabilities "
        f"differ by at most {difference['probabilities']:.1g} of the largest"
    )
    if maps:
        text += f", maps by {difference['maps']:.1g}"
    if not fixed_size:
        text += f", pixels of the resized pictures by at most {difference['pixels']:.0f} of 255"
    echo(text)
