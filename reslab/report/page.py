"""A run, or several side by side, as one HTML page that holds all it needs and opens offline.

The page asks for nothing from anywhere: the charts' library is in it, the pictures are in it, and
its content security policy forbids every request and every script but its own. All words that
come from a run (names of classes, of files, commands) are escaped where they are put in.
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
from reslab.report.context import Run, page

__all__ = ["SAFE", "Run", "put", "render", "write"]

PAGE = Path(__file__).parent / "templates"


def write(runs: Sequence[Run], path: str | Path, then: str = SAFE) -> Path:
    """Writes the report of one run, or of several compared, and returns where it lies.

    A run that failed or was not evaluated gets a report that says so. The file appears whole or
    not at all. Raises UserError without a run, or, with what to do `then`, where the file cannot be
    written.
    """
    if not runs:
        raise UserError("a report needs a run; name at least one run folder")
    return put(path, render("page.html", page(runs)), then)


def put(path: str | Path, whole: str, then: str = SAFE) -> Path:
    """Write a page, whole or not at all; raises UserError where it cannot be written."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file for the page, such as report.html")
    with writing(path, then):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, lambda temp: temp.write_text(whole, encoding="utf-8"), then)
    return path


def render(template: str, contents: Mapping[str, Any]) -> str:
    """A template with its style, its scripts and the library of the charts in it."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from reslab.plots import format

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
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
        "moment",
        "value",
        "heading",
        "ticked",
    )
    environment.filters |= {name: getattr(format, name) for name in names}
    environment.tests["counts"] = format.counts
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    scripts = [get_plotlyjs(), (PAGE / "page.js").read_text(encoding="utf-8")]
    return environment.get_template(template).render(
        **{"version": reslab.__version__, **contents},
        style=Markup((PAGE / "style.css").read_text(encoding="utf-8")),
        scripts=[Markup(script) for script in scripts],
        hashes=[_hash(script) for script in scripts],
    )


def _hash(script: str) -> str:
    """The name by which the content security policy lets this one script run."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
