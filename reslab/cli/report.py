"""`reslab report`: one run, or several, as one page."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.output import echo


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Path of the page.")
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """Write a page about one run, or about several side by side.

    By default it is report.html, in the folder of the run, or here for several runs.
    """
    from reslab.report import page
    from reslab.runs.run import Run

    opened = [Run.open(path) for path in runs]
    if out is None:
        out = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    echo(f"report: {page.write(opened, out, 'choose another path with --out')}")
