"""`reslab predict`: the classes of images."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

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


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--top",
    type=click.IntRange(min=1),
    help="Classes per image.  [default: 3; of several labels all above their thresholds]",
)
@network_weights
@weight_options
@click.option(
    "--engine",
    type=click.Choice(["auto", "openvino", "onnxruntime", "backend"]),
    default="auto",
    show_default=True,
    help="What runs the network; auto takes the fastest one installed.",
)
@click.option(
    "--heatmap",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write each image with a map over it: where the model sees its class.",
)
@click.option("--skip-bad", is_flag=True, help="Skip files that cannot be read.")
@as_json
@insecure
@backend
def predict(
    model: Path,
    images: tuple[str, ...],
    top: int | None,
    weights: str | None,
    scheme: str,
    strict: bool,
    ema: bool,
    engine: str,
    heatmap: Path | None,
    skip_bad: bool,
    as_json: bool,
    backend: str | None,
) -> None:
    """Print the classes of images.

    MODEL is a run, a model file, an exported file, hf://USER/NAME, or with --weights the name of a
    network.
    IMAGES are files, folders, or - for a list on standard input.

    \b
      reslab predict resnet50 --weights torchvision/IMAGENET1K_V2 photo.jpg
    """
    from reslab.evaluation import prediction

    use_backend(backend)
    paths = [path for name in images for path in _paths(name)]
    results = prediction.predict(
        model,
        paths,
        top=top,
        weights=weights,
        engine=engine,
        scheme=scheme,
        strict=strict,
        ema=ema,
        skip_bad=skip_bad,
        heatmap=heatmap,
        note=partial(echo, err=True),
    )
    if as_json:
        print_json(results)
        return
    for result in results:
        guesses = (
            f"{guess['class']} {100 * guess['probability']:.1f} %"
            for guess in result["predictions"]
        )
        echo(f"{result['file']}: {', '.join(guesses) or 'no label'}")


def _paths(name: str) -> list[str]:
    return [line.strip() for line in sys.stdin if line.strip()] if name == "-" else [name]
