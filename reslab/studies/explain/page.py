"""`reslab explain`: the deck, told with the user's own runs and studies, on one page."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from reslab.report import sections as page
from reslab.studies.explain import sections as deck
from reslab.studies.explain.collect import Gathered, gather

__all__ = ["Gathered", "explain", "gather"]

THEN = "name another place with --out"


def explain(paths: Gathered | Iterable[str | Path] = (), out: str | Path = "explain.html") -> Path:
    """Write the page from the runs and studies in `paths` (see `gather`); returns where it lies.

    What was not studied yet is explained all the same, with the command that studies it. Raises
    UserError where a path is not there, or the page cannot be written.
    """
    found = paths if isinstance(paths, Gathered) else gather(paths)
    with tempfile.TemporaryDirectory() as folder:  # of the pictures, until they are in the page
        sections = deck.sections(found, Path(folder))
        return page.write(Path(out), deck.TITLE, deck.lead(found), sections, THEN)
