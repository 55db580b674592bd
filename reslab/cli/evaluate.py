"""`reslab evaluate`, `predict` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from reslab.cli.options import as_json, backend, print_json, use_backend


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--data", metavar="SOURCE", help="Other data of the same classes.")
@as_json
@backend
def evaluate(run: Path, data: str | None, as_json: bool, backend: str | None) -> None:
    """Judge a run on its test set, or on other data."""
    from reslab.runs.run import Run

    opened = Run.open(run)
    use_backend(backend)
    from reslab.evaluation import evaluation

    judged = evaluation.judgement(opened, data)
    if as_json:
        print_json({key: value for key, value in judged.items() if key != "mistakes"})
    else:
        _print_judgement(judged)
    then = "the judgement is printed above, but not kept"  # as in a run that may only be read
    evaluation.keep(opened, judged, own=data is None, then=then)


def _print_judgement(judged: dict[str, Any]) -> None:
    from reslab.plots.format import percent

    n = judged["n"]
    click.echo(sentence(judged))
    if judged["top5_error"]:
        click.echo(f"top-5 error {_interval(judged['top5_error'], n)}")
    click.echo(f"balanced accuracy {percent(judged['balanced_accuracy'], n)}, ", nl=False)
    click.echo(f"calibration error {judged['calibration']['ece']:.3f}, loss {judged['loss']:.4f}")
    worst = sorted(judged["per_class"], key=lambda row: row["error"] or 0, reverse=True)[:5]
    for row in worst:
        click.echo(f"  {row['class']}: {percent(row['error'], row['n'])} of {row['n']} wrong")
    for pair in judged["confused"][:5]:
        click.echo(
            f"  {pair['true']} taken for {pair['predicted']}: {pair['count']} of {pair['of']}"
        )


def sentence(judged: dict[str, Any]) -> str:
    """`test error 9.10 % (95 % interval 8.55 to 9.68 %) of 10,000 images`."""
    n = judged["n"]
    return f"{judged['split']} error {_interval(judged['top1_error'], n)} of {n:,} images"


def _interval(error: dict[str, float], n: int) -> str:
    from reslab.plots.format import interval, percent

    return f"{percent(error['value'], n)} (95 % interval {interval(error, n)})"
