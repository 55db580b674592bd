"""`reslab push`: a trained model to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import backend, insecure, use_backend
from reslab.cli.output import echo


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("address")
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option("--revision", metavar="BRANCH", help="Another branch than main.")
@insecure
@backend
def push(
    model: Path, address: str, private: bool, revision: str | None, backend: str | None
) -> None:
    """Upload a trained model to the Hugging Face hub.

    MODEL is a run or a model file. ADDRESS is hf://USER/NAME. The repository gets what `reslab
    export --to hub` writes.

    \b
      reslab push runs/resnet20-fashion-mnist-quick-1 hf://me/fashion
    """
    from reslab.core.errors import UserError
    from reslab.data.sources import hub

    where = hub.parse(address)
    if revision and where.revision not in ("main", revision):
        raise UserError(f"{address} and --revision {revision} name two branches: leave one out")
    use_backend(backend)
    from reslab.formats.pushing import push as push_model

    target = f"hf://{where.repository}@{revision or where.revision}"
    pinned = push_model(model, target, private)
    echo(f"{hub.endpoint()}/{where.repository}: uploaded; this version is {pinned}")
