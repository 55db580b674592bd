"""`reslab lr-range`: which learning rates a training can take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reslab.cli.drawing_options import out_stem, print_files
from reslab.cli.options import (
    as_json,
    backend,
    field_and_value,
    insecure,
    load_tensorflow,
    size_option,
    use_backend,
)
from reslab.cli.output import echo, print_json


@click.command("lr-range")
@click.argument("name")
@click.option("--data", required=True, metavar="SOURCE", help="As for `reslab train`.")
@click.option("--recipe", metavar="R", help="As for `reslab train`; its schedule is not used.")
@click.option(
    "--set", "changes", metavar="FIELD=VALUE", multiple=True, help="Change a field of the recipe."
)
@click.option("--weights", metavar="SOURCE", help="Start from these weights.")
@click.option("--batch", type=int, metavar="B", help="Images per step.")
@size_option
@click.option("--images", type=int, metavar="N", help="Train on a sample of N images.")
@click.option("--seed", type=int, default=0, show_default=True, help="As for `reslab train`.")
@click.option("--low", type=float, default=1e-5, show_default=True, help="The first rate.")
@click.option("--high", type=float, default=10.0, show_default=True, help="The last rate.")
@click.option("--steps", type=int, default=200, show_default=True, help="The number of steps.")
@out_stem
@insecure
@backend
@as_json
def lr_range(
    name: str,
    data: str,
    changes: tuple[str, ...],
    low: float,
    high: float,
    steps: int,
    out: Path | None,
    backend: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Raise the learning rate step by step, and draw the loss.

    The loss falls while the rate is useful and rises where it is too high (Smith 2015). Give the
    rate to `reslab train --set rate=...`.
    """
    from reslab.runs.options import TrainingOptions
    from reslab.zoo import network

    network(name)  # report what is wrong before Keras is loaded
    chosen = TrainingOptions(**options, changes=dict(map(field_and_value, changes)))
    use_backend(backend)
    load_tensorflow()
    from reslab.cli.train import TrainingBar
    from reslab.training.lr_range import lr_range_with

    with TrainingBar() as bar:
        result = lr_range_with(name, data, chosen, low, high, steps, bar.watch())
    files = result.draw(out or Path(f"lr-range-{name}"))
    if as_json:
        print_json(result.to_json() | {file.suffix[1:]: str(file) for file in files})
        return
    echo(result.sentence)
    print_files(files, as_json)
