"""A study as a page: sections of words, charts, pictures and tables, each with its source.

Every section says whether it was measured here, and by which command, or quoted, and from where.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from reslab.plots.plotly import Chart
from reslab.report import page

TYPES = {".png": "image/png", ".svg": "image/svg+xml", ".gif": "image/gif"}


@dataclass(frozen=True)
class Picture:
    """A picture file, put into the page."""

    path: Path
    caption: str
    wide: bool = False

    @property
    def address(self) -> str:
        data = base64.b64encode(self.path.read_bytes()).decode()
        return f"data:{TYPES[self.path.suffix]};base64,{data}"


def drawn(files: Sequence[Path], caption: str) -> Picture:
    """What `reslab.draw` made, as wide as the page."""
    return Picture(next(file for file in files if file.suffix == ".svg"), caption, wide=True)


@dataclass(frozen=True)
class Table:
    """Cells as words. The first `names` columns stand left, the others, numbers, right."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """`words` are paragraphs, with `code` in backquotes. Ids of charts are unique in a page."""

    title: str
    words: Sequence[str] = ()
    charts: Sequence[tuple[Chart, str]] = ()  # with their captions
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    measured: Sequence[str] = ()  # commands that measured what is shown here
    quoted: Sequence[str] = ()  # "He et al. 2015, Table 6": sources of what was not
    sections: Sequence[Section] = field(default=())  # one level down


def write(
    path: Path, title: str, lead: str, sections: Sequence[Section], then: str = page.SAFE
) -> Path:
    """One self-contained page; raises UserError where it cannot be written."""
    contents = {"title": title, "lead": lead, "sections": sections}
    return page.put(path, page.render("study.html", contents), then)
