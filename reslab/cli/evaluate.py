"""`reslab evaluate`: the metrics of a run on its test set, or on other data."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import as_json, backend, table_columns, use_backend
from reslab.cli.output import echo, print_json


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", metavar="SOURCE", help="Other data of the same classes.")
@click.option("--keep-seen", is_flag=True, help="Keep images that the weights were trained on.")
@table_columns
@as_json
@backend
def evaluate(
    run: Path,
    data: str | None,
    keep_seen: bool,
    as_json: bool,
    backend: str | None,
    columns: dict[str, str] | None,
) -> None:
    """Evaluate a run on its test set, or on other data."""
    from reslab.runs.run import Run

    opened = Run.open(run)
    use_backend(backend)
    from reslab.evaluation import evaluation
    from reslab.evaluation.cautions import cautions
    from reslab.evaluation.tasks.registry import task_of

    result = evaluation.compute(opened, data, keep_seen, columns)
    warnings = cautions(opened.info, result, opened.log())
    if as_json:
        shown = {key: value for key, value in result.items() if key != "mistakes"}
        print_json({**shown, "cautions": warnings})
    else:
        task = task_of(opened.info)
        lines = [task.sentence(result), *task.details(result)]
        echo("\n".join([*lines, *(f"caution: {warning}" for warning in warnings)]))
    then = "the result is printed above, but not stored"  # as with a run on a read-only disk
    evaluation.store(opened, result, own_data=data is None, then=then)
