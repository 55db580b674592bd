"""`reslab explain`: the deck with the user's own runs and studies."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import as_json, print_json


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=Path("explain.html"),
    show_default=True,
    help="Where the page goes.",
)
@as_json
def explain(paths: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Why residual networks work, on one page, told with your own runs and studies.

    PATHS are runs, studies, or folders of them; by default those in runs/ and studies/. What was
    not studied yet is explained with the command that studies it.
    """
    from reslab.studies.explain.page import explain as write
    from reslab.studies.explain.page import gather

    found = gather(paths)
    page = write(found, out)
    studies = [str(s.path) for each in found.studies.values() for s in each]
    if as_json:
        runs = [str(run.path) for run in found.runs]
        print_json({"page": str(page), "runs": runs, "studies": studies})
        return
    for reason in found.unread:
        click.echo(f"left out: {reason}", err=True)
    click.echo(f"{len(found.runs)} runs and {len(studies)} studies told")
    click.echo(f"page: {page}")
