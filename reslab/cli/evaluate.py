"""`reslab evaluate`: the metrics of a run on its test set, or on other data."""

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
    """Evaluate a run on its test set, or on other data."""
    from reslab.runs.run import Run

    opened = Run.open(run)
    use_backend(backend)
    from reslab.evaluation import evaluation

    metrics = evaluation.judgement(opened, data)
    if as_json:
        print_json({key: value for key, value in metrics.items() if key != "mistakes"})
    else:
        _print_metrics(metrics)
    then = "the result is printed above, but not stored"  # as with a run on a read-only disk
    evaluation.keep(opened, metrics, own=data is None, then=then)


def _print_metrics(metrics: dict[str, Any]) -> None:
    from reslab.plots.format import percent

    n = metrics["n"]
    click.echo(sentence(metrics))
    if metrics["top5_error"]:
        click.echo(f"top-5 error {_interval(metrics['top5_error'], n)}")
    click.echo(f"balanced accuracy {percent(metrics['balanced_accuracy'], n)}, ", nl=False)
    click.echo(f"calibration error {metrics['calibration']['ece']:.3f}, loss {metrics['loss']:.4f}")
    worst = sorted(metrics["per_class"], key=lambda row: row["error"] or 0, reverse=True)[:5]
    for row in worst:
        click.echo(f"  {row['class']}: {percent(row['error'], row['n'])} of {row['n']} wrong")
    for pair in metrics["confused"][:5]:
        click.echo(
            f"  {pair['true']} taken for {pair['predicted']}: {pair['count']} of {pair['of']}"
        )


def sentence(metrics: dict[str, Any]) -> str:
    """`test error 9.10 % (95 % interval 8.55 to 9.68 %) of 10,000 images`."""
    n = metrics["n"]
    return f"{metrics['split']} error {_interval(metrics['top1_error'], n)} of {n:,} images"


def _interval(error: dict[str, float], n: int) -> str:
    from reslab.plots.format import interval, percent

    return f"{percent(error['value'], n)} (95 % interval {interval(error, n)})"
