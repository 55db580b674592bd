"""The "revolution of depth": ILSVRC top-5 errors by year, with the number of layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reslab.core.errors import UserError
from reslab.plots import matplotlib


@dataclass(frozen=True)
class Entry:
    """A bar: the text below it, the number of layers, and the top-5 error in percent."""

    name: str
    layers: str
    error: float
    measured: bool = False


# the winners, and the second of 2014; SOURCE is printed below the chart
PUBLISHED = (
    Entry("ILSVRC'10\nLin et al.", "shallow", 28.2),
    Entry("ILSVRC'11\nSánchez and\nPerronnin", "shallow", 25.8),
    Entry("ILSVRC'12\nAlexNet", "8 layers", 16.4),
    Entry("ILSVRC'13\nClarifai (ZF)", "8 layers", 11.7),
    Entry("ILSVRC'14\nVGG", "19 layers", 7.3),
    Entry("ILSVRC'14\nGoogLeNet", "22 layers", 6.7),
    Entry("ILSVRC'15\nResNet", "152 layers", 3.57),
)
SOURCE = (
    "Published: test sets of ILSVRC, without external data; ensembles. 2010, 2011: the ILSVRC "
    "results; 2012 to 2014: Szegedy et al. 2014, Table 2\n"
    "(arXiv 1409.4842), rounded, layers of VGG from Simonyan and Zisserman 2014; "
    "2015: He et al. 2015, Table 5 (arXiv 1512.03385)."
)
TITLE = "Revolution of depth: ILSVRC top-5 error"
COLOURS = {"shallow": "#9aa1ab", "published": "#4c7fb8", "measured": "#c08a3e"}


def depth(stem: str | Path, runs: Iterable[Any] = ()) -> tuple[Path, ...]:
    """Draw the depth chart: published ILSVRC top-5 errors, and those of your runs beside them.

    Args:
        stem: Path of the files without a suffix.
        runs: Evaluated runs, or their folders.

    Returns:
        The paths of STEM.svg and STEM.png.

    Raises:
        UserError: A run is not evaluated or has no top-5 error, or a file cannot be written.
    """
    return matplotlib.write(files([*PUBLISHED, *map(entry, runs)]), stem)


def entry(run: Any) -> Entry:
    """The bar of a run: the top-5 error of its evaluation, on whatever data that was."""
    from reslab.runs.run import Run
    from reslab.spec import summary

    run = run if isinstance(run, Run) else Run.open(run)
    evaluation = run.evaluation
    if evaluation is None:
        raise UserError(f"{run.path} is not evaluated yet: run `reslab evaluate {run.path}`")
    if not evaluation.get("top5_error"):
        raise UserError(
            f"{run.path} has no top-5 error, as its data have too few classes: choose another run"
        )
    name = f"{run.network.name}\non {evaluation['data']},\n{evaluation['split']} set"
    layers = f"{summary.depth(run.network)} layers"
    return Entry(name, layers, 100 * evaluation["top5_error"]["value"], measured=True)


def files(entries: Sequence[Entry]) -> dict[str, bytes]:
    """Return the contents of the files by their suffix."""
    from matplotlib.figure import Figure

    with matplotlib.style():
        figure = Figure(figsize=(1.6 + 1.05 * len(entries), 4.6), facecolor="white")
        axes = figure.add_axes((0.06, 0.27, 0.92, 0.62))
        _bars(axes, entries)
        figure.text(0.06, 0.94, TITLE, fontsize=12, fontweight="bold", color=matplotlib.INK)
        note = SOURCE
        if any(each.measured for each in entries):
            note += "\nOrange: measured with reslab, each on the images named below it."
        figure.text(0.06, 0.025, note, fontsize=6.5, color=matplotlib.QUIET, va="bottom")
        return matplotlib.saved(figure, TITLE)


def _bars(axes: Any, entries: Sequence[Entry]) -> None:
    errors = [each.error for each in entries]
    axes.bar(range(len(entries)), errors, width=0.62, color=[_colour(each) for each in entries])
    top = max(errors) * 1.16
    for i, each in enumerate(entries):
        text = f"{each.error:g} %" if not each.measured else f"{each.error:.2f} %"
        axes.text(i, each.error + top * 0.055, text, ha="center", fontsize=9, fontweight="bold")
        axes.text(i, each.error + top * 0.015, each.layers, ha="center", fontsize=8)
    axes.set_xticks(range(len(entries)), [each.name for each in entries], fontsize=8)
    axes.set_ylim(0, top)
    axes.set_ylabel("top-5 error, %", fontsize=8)
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _colour(entry: Entry) -> str:
    kind = "measured" if entry.measured else "published"
    return COLOURS["shallow" if entry.layers == "shallow" else kind]
