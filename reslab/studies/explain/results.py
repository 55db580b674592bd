"""The deck's code, and the results of the user's runs."""

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
from reslab.studies.explain.collect import Gathered

MOST_CURVES = plotly.RUN_COLOURS  # more lines cannot be told apart


def code(folder: Path) -> Section:
    made = draw.blocks(["characters_printed", "characters"], folder / "code")
    return Section(
        "The code",
        (
            "The deck ends with a classifier of 62 characters, of four pre-activation blocks. As "
            "printed, its body ends in a 1x1 convolution to one channel, which is added to all "
            "channels of a 3x3 convolution of the input, and all 3x3 kernels begin from one seed, "
            "so that kernels of one shape begin alike. The corrected twin is a true residual "
            "block. `reslab train characters --data glyphs --recipe characters` trains it.",
        ),
        pictures=[drawn(made, "The deck's block as printed, and corrected")],
        measured=("reslab draw --block characters_printed --block characters",),
    )


def results(found: Gathered) -> Section:
    """Every finished run in a table; the curves of the first ones; confusions of each."""
    if not found.runs:
        how = "`reslab train resnet20 --data fashion-mnist` makes one."
        return Section("Results", (f"No finished run was found. {how}",))
    drawn = found.runs[:MOST_CURVES]
    whole = page_context(drawn)
    charts = [
        (whole["charts"][what], caption)
        for what, caption in (("error", "Error by epoch"), ("loss", "Loss by epoch"))
        if what in whole["charts"]
    ]
    said = [
        "Validation bold, training thin; the ring is the epoch that was chosen on validation "
        "images. The test set was read after that.",
    ]
    if len(found.runs) > len(drawn):
        said.append(f"Curves are of the first {len(drawn)} of {len(found.runs)} runs.")
    return Section(
        "Results",
        said,
        charts=charts,
        tables=[_table(found.runs)],
        measured=[training_command(run.path, run.info, run.network) for run in found.runs],
        sections=[_confused(s) for s in whole["sections"] if s["evaluation"]],
    )


def _table(runs: tuple[Run, ...]) -> Table:
    head = ("run", "network", "data", "recipe", "parameters", "judged on", "error", "95 % interval")
    rows = []
    for run in runs:
        info, judged = run.info, run.evaluation
        cells = [run.name, run.network.name, info["data"]["name"], str(info["recipe"].get("name"))]
        cells.append(count(info.get("params")))
        if judged:
            n, error = judged["n"], judged["top1_error"]
            words = f"{n:,} {judged.get('split', 'test')} images"
            cells += [words, percent(error["value"], n), interval(error, n)]
        else:
            cells += ["not judged", "", ""]
        rows.append(cells)
    return Table("Every finished run", head, rows, names=4)


def _confused(section: Mapping[str, Any]) -> Section:
    judged = section["evaluation"]
    rows = [
        (pair["true"], pair["predicted"], f"{pair['count']} of {pair['of']}")
        for pair in judged["confused"][:5]
    ]
    charts = [(judged["charts"]["confusion"], f"Confusion matrix of {section['name']}")]
    pairs = Table("Most confused", ("true", "taken for", "images"), rows, names=2)
    return Section(section["name"], charts=charts, tables=[pairs] if rows else ())
