"""Figures by matplotlib. The same figure gives the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError

INK, QUIET = "#1f2430", "#5c6470"
DPI = 200
MOST_PIXELS = 30_000  # per side; the PNG of a longer picture has a lower resolution
# of networks and runs, as in report/templates/style.css; after Okabe and Ito
COLOURS = ("#0069a8", "#cf5300", "#00805c", "#b0558b", "#a97800", "#3a9bd6", "#5c5c5c", "#7a4fbf")
DASHED = (0, (4, 1.6))


@contextmanager
def style() -> Iterator[None]:
    """matplotlib's defaults, whatever the user's matplotlibrc says; SVG keeps text as text."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "reslab"})
        yield


def saved(figure: Any, title: str) -> dict[str, bytes]:
    """A figure as bytes by file ending, without the date and the versions, so that it repeats."""
    longest = max(figure.get_size_inches())
    dpi = min(DPI, MOST_PIXELS / longest)
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "reslab", "Title": title})
    figure.savefig(png, format="png", dpi=dpi, metadata={"Software": None, "Title": title})
    return {"svg": svg.getvalue(), "png": png.getvalue()}


def chart(
    stem: str | Path,
    title: str,
    size: tuple[float, float],
    fill: Callable[[Any], None],
    note: str = "",
) -> tuple[Path, ...]:
    """Write STEM.svg and STEM.png of a figure of `size` inches; `fill` draws its axes.

    `note` is small text below. Raises UserError like `write`.
    """
    from matplotlib.figure import Figure

    with style():
        figure = Figure(figsize=size, facecolor="white", layout="constrained")
        fill(figure)
        look = {"x": 0.01, "ha": "left"}
        figure.suptitle(title, fontsize=12, fontweight="bold", color=INK, **look)
        if note:
            figure.supxlabel(note, fontsize=7, color=QUIET, **look)
        return write(saved(figure, title), stem)


def write(contents: dict[str, bytes], stem: str | Path) -> tuple[Path, ...]:
    """Write STEM.svg and STEM.png atomically. UserError if they cannot be written."""
    from reslab.core.files import write as write_file
    from reslab.core.files import writing

    then = "choose another --out"
    stem = Path(stem)
    if stem.suffix in (".svg", ".png"):
        stem = stem.with_suffix("")
    if not stem.name:
        raise UserError(f"{str(stem)!r} is not a file name; {then}")
    paths = {Path(f"{stem}.{ending}"): content for ending, content in contents.items()}
    for path in paths:
        if path.is_dir():
            raise UserError(f"{path} is a folder; {then}")
    with writing(stem, then):
        stem.parent.mkdir(parents=True, exist_ok=True)
    for path, content in paths.items():
        write_file(path, partial(Path.write_bytes, data=content), then)
    return tuple(paths)
