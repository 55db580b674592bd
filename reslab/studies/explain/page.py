"""`reslab explain`: one page that explains residual networks with the user's runs and studies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from reslab.report import sections as pages
from reslab.studies.explain.collect import Collection, collect
from reslab.studies.explain.sections import TITLE, lead, sections

__all__ = ["Collection", "collect", "explain"]

THEN = "choose another --out"


def explain(
    paths: Collection | Iterable[str | Path] = (), out: str | Path = "explain.html"
) -> Path:
    """Write a page that explains residual networks with your own runs and studies.

    A section without a study names the command that makes one.

    Args:
        paths: Runs, studies, or folders of them (see `collect`).
        out: The page.

    Returns:
        The path of the page.

    Raises:
        UserError: A path does not exist, or the page cannot be written.
    """
    collection = paths if isinstance(paths, Collection) else collect(paths)
    with tempfile.TemporaryDirectory() as folder:  # of the pictures, which the page embeds
        return pages.write(
            Path(out), TITLE, lead(collection), sections(collection, Path(folder)), THEN
        )
