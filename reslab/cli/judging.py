"""`reslab evaluate`, `predict` and `report`."""

from __future__ import annotations

import sys
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
    from reslab.run import Run

    opened = Run.open(run)
    use_backend(backend)
    from reslab import evaluation

    judged = evaluation.judgement(opened, data)
    if as_json:
        print_json({key: value for key, value in judged.items() if key != "mistakes"})
    else:
        _print_judgement(judged)
    then = "the judgement is printed above, but not kept"  # as in a run that may only be read
    evaluation.keep(opened, judged, own=data is None, then=then)


def _print_judgement(judged: dict[str, Any]) -> None:
    from reslab.report.words import percent

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


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--top", type=click.IntRange(min=1), default=3, show_default=True, help="Classes to name."
)
@click.option(
    "--weights", metavar="W", help="timm/NAME, torchvision/VERSION, keras/imagenet, or a file."
)
@click.option(
    "--engine",
    type=click.Choice(["auto", "openvino", "onnxruntime", "backend"]),
    default="auto",
    show_default=True,
    help="What runs the network; auto is the fastest installed.",
)
@as_json
@backend
def predict(
    model: Path,
    images: tuple[str, ...],
    top: int,
    weights: str | None,
    engine: str,
    as_json: bool,
    backend: str | None,
) -> None:
    """What a model sees in images.

    MODEL is a run or a model file, or with --weights the name of a network; IMAGES are files,
    folders, or - for a list on standard input.

    \b
      reslab predict resnet50 --weights torchvision/IMAGENET1K_V2 photo.jpg
    """
    from reslab import prediction

    use_backend(backend)
    shown = [line for word in images for line in _words(word)]
    found = prediction.predict(model, shown, top=top, weights=weights, engine=engine)
    if as_json:
        print_json(found)
        return
    for one in found:
        guesses = one["predictions"]
        words = (f"{guess['class']} {100 * guess['probability']:.1f} %" for guess in guesses)
        click.echo(f"{one['file']}: {', '.join(words)}")


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where the page goes.")
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """One page about a run, or about several side by side."""
    from reslab import report as pages
    from reslab.run import Run

    opened = [Run.open(run) for run in runs]
    if out is None:
        out = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    click.echo(f"report: {pages.write(opened, out, 'name another place with --out')}")


COMMANDS = evaluate, predict, report


def sentence(judged: dict[str, Any]) -> str:
    """`test error 9.10 % (95 % interval 8.55 to 9.68 %) of 10,000 images`."""
    n = judged["n"]
    return f"{judged['split']} error {_interval(judged['top1_error'], n)} of {n:,} images"


def _interval(error: dict[str, float], n: int) -> str:
    from reslab.report.words import interval, percent

    return f"{percent(error['value'], n)} (95 % interval {interval(error, n)})"


def _words(word: str) -> list[str]:
    return [line.strip() for line in sys.stdin if line.strip()] if word == "-" else [word]
