"""The page of a study: sections of text, charts, pictures and tables.

Every section names its source: the command that measured it, or the publication it is quoted from.
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
    """A picture file that is embedded in the page."""

    path: Path
    caption: str
    wide: bool = False

    @property
    def address(self) -> str:
        """The picture as a data URL."""
        data = base64.b64encode(self.path.read_bytes()).decode()
        return f"data:{TYPES[self.path.suffix]};base64,{data}"


def drawn(files: Sequence[Path], caption: str) -> Picture:
    """Return the SVG among the files that `reslab.draw` wrote, as wide as the page."""
    return Picture(next(file for file in files if file.suffix == ".svg"), caption, wide=True)


@dataclass(frozen=True)
class Table:
    """Text cells. The first `names` columns are left-aligned, the others right-aligned."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    folded: bool = False  # shown only on a click


@dataclass(frozen=True)
class Section:
    """`paragraphs` are texts with code in `backquotes`. Chart ids must be unique in a page.

    Tables stand below charts and pictures, or above them with `tables_first`.
    """

    title: str
    paragraphs: Sequence[str] = ()
    charts: Sequence[tuple[Chart, str]] = ()  # with their captions
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
    tables_first: bool = False
    measured: Sequence[str] = ()  # commands that measured the content
    quoted: Sequence[str] = ()  # sources of quoted content, such as "He et al. 2015, Table 6"
    sections: Sequence[Section] = field(default=())  # one level down


def write(
    path: Path, title: str, lead: str, sections: Sequence[Section], then: str = page.SAFE
) -> Path:
    """Write one self-contained page. Raises UserError if it cannot be written."""
    context = {"title": title, "lead": lead, "sections": sections}
    return page.put(path, page.render("study.html", context), then)
