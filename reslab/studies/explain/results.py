"""Sections about the deck's code, and about the results of the user's runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reslab import draw
from reslab.plots import plotly
from reslab.plots.format import count, interval, percent
from reslab.report.context import page_context
from reslab.report.reproduce import training_command
from reslab.report.sections import Section, Table, drawn
from reslab.runs.run import Run
from reslab.studies.explain.collect import Collection

MOST_CURVES = plotly.RUN_COLOURS  # more lines cannot be distinguished


def code(folder: Path) -> Section:
    files = draw.blocks(["characters_printed", "characters"], folder / "code")
    return Section(
        "The code",
        (
            "The deck ends with a classifier of 62 characters, made of four pre-activation blocks. "
            "As printed, the body ends in a 1x1 convolution to one channel, which is added to all "
            "channels of a 3x3 convolution of the input. All 3x3 kernels are initialised with one "
            "seed, so kernels of the same shape start equal. The corrected twin is a true residual "
            "block. `reslab train characters --data glyphs --recipe characters` trains it.",
        ),
        pictures=[drawn(files, "The deck's block as printed, and corrected")],
        measured=("reslab draw --block characters_printed --block characters",),
    )


def results(collection: Collection) -> Section:
    """A table of all finished runs, the curves of the first ones, and each confusion matrix."""
    if not collection.runs:
        how = "`reslab train resnet20 --data fashion-mnist` makes one."
        return Section("Results", (f"There is no finished run. {how}",))
    first = collection.runs[:MOST_CURVES]
    contents = page_context(first)
    charts = [
        (contents["charts"][metric], caption)
        for metric, caption in (("error", "Error by epoch"), ("loss", "Loss by epoch"))
        if metric in contents["charts"]
    ]
    paragraphs = [
        "Bold: validation. Thin: training. The ring marks the epoch that was chosen by the "
        "validation images. The test set was read afterwards.",
    ]
    if len(collection.runs) > len(first):
        paragraphs.append(
            f"The curves are those of the first {len(first)} of {len(collection.runs)} runs."
        )
    return Section(
        "Results",
        paragraphs,
        charts=charts,
        tables=[_table(collection.runs)],
        measured=[training_command(run.path, run.info, run.network) for run in collection.runs],
        sections=[_confused(s) for s in contents["sections"] if s["evaluation"]],
    )


def _table(runs: tuple[Run, ...]) -> Table:
    head = (
        "run",
        "network",
        "data",
        "recipe",
        "parameters",
        "evaluated on",
        "error",
        "95 % interval",
    )
    rows = []
    for run in runs:
        info, evaluation = run.info, run.evaluation
        cells = [run.name, run.network.name, info["data"]["name"], str(info["recipe"].get("name"))]
        cells.append(count(info.get("params")))
        if evaluation:
            n, error = evaluation["n"], evaluation["top1_error"]
            images = f"{n:,} {evaluation.get('split', 'test')} images"
            cells += [images, percent(error["value"], n), interval(error, n)]
        else:
            cells += ["not evaluated", "", ""]
        rows.append(cells)
    return Table("Every finished run", head, rows, names=4)


def _confused(section: Mapping[str, Any]) -> Section:
    evaluation = section["evaluation"]
    rows = [
        (pair["true"], pair["predicted"], f"{pair['count']} of {pair['of']}")
        for pair in evaluation["confused"][:5]
    ]
    charts = [(evaluation["charts"]["confusion"], f"Confusion matrix of {section['name']}")]
    pairs = Table("Most confused", ("true", "predicted", "images"), rows, names=2)
    return Section(section["name"], charts=charts, tables=[pairs] if rows else ())
