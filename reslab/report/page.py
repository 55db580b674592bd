"""Write the report of one run or of several as one HTML page, which opens offline.

The page makes no request: it contains its pictures and the chart library, and its content security
policy forbids every request and every script but its own. All text that comes from a run (names of
classes and files, commands) is escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import reslab
from reslab.core.errors import UserError
from reslab.core.files import SAFE, writing
from reslab.core.files import write as write_file
from reslab.report.context import RunLike, page_context

__all__ = ["SAFE", "RunLike", "put", "render", "write"]

TEMPLATES = Path(__file__).parent / "templates"


def write(
    runs: Sequence[RunLike],
    path: str | Path,
    then: str = SAFE,
    folds: Mapping[str, Any] | None = None,
) -> Path:
    """Write the report of one run, or the comparison of several, and return its path.

    A run that failed or was not evaluated gets a report that says so. The file is written
    atomically.

    Args:
        runs: One or more runs.
        path: The HTML file.
        then: What the user can do if the file cannot be written; part of the error message.
        folds: What `reslab.report.folds.block` says about runs of a cross-validation.

    Raises:
        UserError: There is no run, a run is damaged, or the file cannot be written.
    """
    if not runs:
        raise UserError("a report needs a run; name at least one run folder")
    return put(path, render("page.html", page_context(runs, folds)), then)


def put(path: str | Path, html: str, then: str = SAFE) -> Path:
    """Write a page atomically. Raises UserError if it cannot be written."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file for the page, such as report.html")
    with writing(path, then):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda temp: temp.write_text(html, encoding="utf-8"), then)
    return path


def render(template: str, context: Mapping[str, Any]) -> str:
    """Return a template as HTML, with the style, the scripts and the chart library inside."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from reslab.plots import format

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names = (
        "count",
        "large",
        "percent",
        "interval",
        "duration",
        "date",
        "value",
        "heading",
        "with_code",
    )
    environment.filters |= {name: getattr(format, name) for name in names}
    environment.tests["count_table"] = format.is_count_table
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    scripts = [get_plotlyjs(), (TEMPLATES / "page.js").read_text(encoding="utf-8")]
    return environment.get_template(template).render(
        **{"version": reslab.__version__, **context},
        style=Markup((TEMPLATES / "style.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_hash(script) for script in scripts],
    )


def _hash(script: str) -> str:
    """The hash that allows this script in the content security policy."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
