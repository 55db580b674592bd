"""One HTML file that runs a model on pictures: no server, no network.

The model, the weights and ONNX Runtime Web are inside. The content security policy of the page
forbids every request. The names of classes and all other text are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from reslab import __version__
from reslab.core.errors import UserError
from reslab.engines import page_file
from reslab.engines.head import NoMaps
from reslab.formats import ort_web, page_facts
from reslab.formats.content import Content
from reslab.plots import heat
from reslab.runs.run import Run

TEMPLATES = Path(__file__).parent / "templates"


def write(content: Content, path: Path) -> None:
    """Write the page. Raises UserError if ONNX Runtime Web is not at hand."""
    if content.form.fixed_size:
        raise UserError("a page takes pictures of any size: leave --fixed-size out")
    bundle = ort_web.bundle()
    source = content.source
    maps = _has_maps(content)
    content = replace(content, form=replace(content.form, maps=maps))
    facts = page_facts.facts(content.card, source.view, source.run)
    facts |= {
        "maps": maps,
        "unsure": page_facts.unsure(source),
        "address": None,
    }
    blobs = {"runtime": bundle.script, "wasm": bundle.wasm, "model": content.onnx}
    path.write_text(
        html(facts, {name: page_file.packed(blob) for name, blob in blobs.items()}),
        encoding="utf-8",
    )


def posting(card: Mapping[str, Any], run: Run | None, address: str) -> str:
    """The page of a server: pictures are sent to `address` by POST, one in each request.

    The answer is JSON: `{"predictions": [{"class", "probability"}, ...]}`, the most probable class
    first, or a list with one such object. Labels have their "threshold". A prediction may have a
    "map": rows of values, which cover the part of the picture that the model sees. An error is
    `{"error": TEXT}`.

    Args:
        card: Of the model that the server runs.
        run: The run that trained it, if it is known.
        address: Such as "/predict".
    """
    facts = page_facts.facts(card, page_facts.view_of(card), run)
    return html({**facts, "maps": False, "unsure": None, "address": address}, {})


def html(facts: Mapping[str, Any], blobs: Mapping[str, str]) -> str:
    """The page as text. `blobs` are what it runs, compressed and in base64."""
    import jinja2
    from markupsafe import Markup

    from reslab.plots import format

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = format.count
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    style, script, licence = (
        (TEMPLATES / name).read_text(encoding="utf-8")
        for name in ("page.css", "page.js", "onnxruntime_licence.txt")
    )
    return environment.get_template("page.html").render(
        facts={
            **facts,
            "colours": heat.colours().tobytes().hex(),
            "opacity": heat.OPACITY,
            "dimmed": heat.DIMMED,
        },
        cautions=page_facts.sentences(facts),
        blobs={name: Markup(text) for name, text in blobs.items()},
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        hash=_hash(script),
        licence=licence,
        version=__version__,
        runtime_version=ort_web.VERSION,
    )


def _has_maps(content: Content) -> bool:
    """Whether the class activation maps of the model are exact."""
    if content.form.maps:
        return True
    try:
        return content.source.maps is not None
    except NoMaps:
        return False


def _hash(text: str) -> str:
    """The hash that allows this script or style in the content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
