"""`reslab report`: runs as one page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where the page goes.")
def report(runs: tuple[Path, ...], out: Path | None) -> None:
    """One page about a run, or about several side by side."""
    from reslab.report import page as pages
    from reslab.runs.run import Run

    opened = [Run.open(run) for run in runs]
    if out is None:
        out = runs[0] / "report.html" if len(runs) == 1 else Path("report.html")
    click.echo(f"report: {pages.write(opened, out, 'name another place with --out')}")
