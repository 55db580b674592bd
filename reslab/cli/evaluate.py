"""`reslab evaluate`: the metrics of a run on its test set, or on other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from reslab.cli.options import as_json, backend, insecure, table_columns, use_backend
from reslab.cli.output import echo, print_json
from reslab.core.errors import UserError


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--data",
    metavar="SOURCE",
    help="Other data with some or all of the classes; or the new place of the run's data.",
)
@click.option("--skip-bad", is_flag=True, help="Skip images of SOURCE that cannot be read.")
@click.option("--keep-seen", is_flag=True, help="Keep images that the weights were trained on.")
@table_columns
@as_json
@insecure
@backend
def evaluate(
    run: Path,
    data: str | None,
    skip_bad: bool,
    keep_seen: bool,
    as_json: bool,
    backend: str | None,
    columns: dict[str, str] | None,
) -> None:
    """Evaluate a run on its test set, or on other data.

    RUN is a run or an exported file. A file in the folder of its run reads the test set of the run;
    elsewhere it needs --data. Its result is printed and not stored.
    """
    use_backend(backend)
    from reslab.engines import opening
    from reslab.runs.run import Run

    if opening.kind_of(run):
        from reslab.evaluation import of_files, unseen

        file = opening.open_file(run)
        result = of_files.evaluate_file(file, data, keep_seen, columns, skip_bad)
        text = unseen.sentence(result)
        _print(file.card, result, [text] if text else [], as_json)
        return
    opened = Run.open(run)
    from reslab.evaluation import evaluation
    from reslab.evaluation.cautions import cautions

    with opened.only_writer():
        result = evaluation.compute(opened, data, keep_seen, columns, skip_bad)
        failure = None
        try:  # before it is printed: who reads the output may be gone
            evaluation.store(opened, result, "the result is printed above, but not stored")
        except UserError as error:
            failure = error
    _print(opened.info, result, cautions(opened.info, result, opened.log()), as_json)
    if failure is not None:  # as with a run on a read-only disk
        raise failure


def _print(
    info: Mapping[str, Any], result: Mapping[str, Any], warnings: Sequence[str], as_json: bool
) -> None:
    """`info` is the content of run.json or the card of a file: it names the task."""
    from reslab.evaluation.tasks.registry import task_of

    if as_json:
        pictures = "mistakes", "examples", "map"
        shown = {key: value for key, value in result.items() if key not in pictures}
        print_json({**_without_pictures(shown), "cautions": warnings})
        return
    task = task_of(info)
    lines = [task.sentence(result), *task.details(result)]
    lines += [f"note: {note}" for note in result["notes"]]
    lines += [f"skipped: {each['file']} ({each['why']})" for each in result["skipped"]]
    echo("\n".join([*lines, *(f"caution: {warning}" for warning in warnings)]))


def _without_pictures(value: Any) -> Any:
    """A JSON value without its entries "png"."""
    if isinstance(value, dict):
        return {k: _without_pictures(each) for k, each in value.items() if k != "png"}
    return [_without_pictures(each) for each in value] if isinstance(value, list) else value
