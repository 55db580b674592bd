"""`reslab serve`: a trained model behind HTTP."""

from __future__ import annotations

from typing import Any

import click

from reslab.cli.options import backend, insecure, network_weights, use_backend, weight_options
from reslab.cli.output import echo

SECONDS = click.FloatRange(min=0.001)


@click.command()
@click.argument("model")
@click.option("--port", type=int, default=8080, show_default=True, help="0 chooses a free one.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address to listen on; 0.0.0.0 for all of this machine.",
)
@click.option("--workers", type=int, default=1, show_default=True, help="Processes.")
@network_weights
@weight_options
@click.option(
    "--engine",
    type=click.Choice(["auto", "openvino", "onnxruntime", "backend"]),
    default="auto",
    show_default=True,
    help="What runs the network; auto takes ONNX Runtime if it is installed.",
)
@click.option("--name", default="", metavar="NAME", help="The name of the model in addresses.")
@click.option("--cors", multiple=True, metavar="ORIGIN", help="An origin that may read answers.")
@click.option("--max-body", type=float, default=32, show_default=True, help="MiB of a request.")
@click.option(
    "--max-pixels", type=float, default=64, show_default=True, help="Million pixels of a picture."
)
@click.option(
    "--max-queue",
    type=click.IntRange(min=1),
    default=256,
    show_default=True,
    help="Pictures that wait in a worker; beyond it answers 503.",
)
@click.option(
    "--body-seconds", type=SECONDS, default=30, show_default=True, help="To send a request."
)
@click.option(
    "--request-seconds", type=SECONDS, default=30, show_default=True, help="To answer it."
)
@click.option(
    "--drain-seconds",
    type=click.FloatRange(min=0),
    default=1,
    show_default=True,
    help="After SIGTERM: not ready, and still answering.",
)
@insecure
@backend
def serve(model: str, backend: str | None, **options: Any) -> None:
    """Serve a trained model over HTTP.

    MODEL is a run, a model file, an exported file, or with --weights the name of a network.
    POST /predict takes pictures, / is a page to try it, and /docs describes all addresses.

    \b
      reslab serve runs/resnet20-fashion-mnist-quick-1
      curl --data-binary @photo.jpg http://127.0.0.1:8080/predict
    """
    use_backend(backend)
    from reslab.serving.serve import serve as serve_model

    serve_model(model, note=echo, **options)
