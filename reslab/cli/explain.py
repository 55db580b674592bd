"""`reslab explain`: why residual networks work, with the user's own runs and studies."""

from __future__ import annotations

from pathlib import Path

import click

from reslab.cli.options import as_json
from reslab.cli.output import echo, print_json


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default=Path("explain.html"),
    show_default=True,
    help="Path of the page.",
)
@as_json
def explain(paths: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Explain on one page why residual networks work, with your own runs and studies.

    PATHS are runs, studies, or folders of them; by default runs/ and studies/. A topic that you
    have not studied yet is explained as well, with the command that studies it.
    """
    from reslab.studies.explain import page
    from reslab.studies.explain.collect import collect

    collected = collect(paths)
    path = page.explain(collected, out)
    studies = [str(study.path) for kind in collected.studies.values() for study in kind]
    if as_json:
        runs = [str(run.path) for run in collected.runs]
        print_json({"page": str(path), "runs": runs, "studies": studies})
        return
    for reason in collected.unread:
        echo(f"left out: {reason}", err=True)
    echo(f"with {len(collected.runs)} runs and {len(studies)} studies")
    echo(f"page: {path}")
