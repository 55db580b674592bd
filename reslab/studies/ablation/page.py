"""What a study of an ablation shows: sections of a page, a picture, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from statistics import median

from reslab.evaluation.intervals import ErrorDifference
from reslab.plots.figure import Figure, Panel
from reslab.plots.figure_matplotlib import render
from reslab.plots.figure_plotly import chart
from reslab.plots.format import NONE
from reslab.report import sections as pages
from reslab.report.sections import Section, Table
from reslab.studies.ablation.results import (
    answer,
    compared_depth,
    differences,
    most_seeds,
    published,
    table_of,
    variants,
    verdicts,
)
from reslab.studies.ablation.variants import HEADS, SOURCES
from reslab.studies.folder import RESUME_HINT, Study
from reslab.studies.sweep import figures, results
from reslab.studies.sweep.page import lead, printed, status, trained
from reslab.studies.sweep.results import Result, error_text
from reslab.zoo.identity_mappings import PAPER

TITLE = "Ablation: identity mappings"
TITLES = {"shortcuts": "What is on the shortcut", "activations": "Where the activations are"}
COMPARISON = (
    "The published errors are for CIFAR-10 after 64,000 iterations; `fail` means a test error "
    "above 20 %. After a different training, compare the order of the errors, not their size."
)


VERDICT = (
    "A test error is higher or lower if the interval of its difference to that of the original "
    "excludes zero. The intervals of all cases hold together with 95 %. With several seeds, each "
    "reaches as far as the wider one of Welch's t-interval over the seeds and Newcombe's interval "
    "over the images; with one seed it is the latter."
)


def publish(study: Study) -> None:
    """Write the verdicts, the picture and the page of what was measured."""
    errors = results.read(study)
    rows = [
        {**results.summary(errors[variant.name]), "published": published(study, variant)}
        for variant in variants(study)
        if variant.name in errors
    ]
    against = {name: each and asdict(each) for name, each in differences(errors).items()}
    found = {
        "against_original": verdicts(errors),
        "differences": against,
        "said": answer(study),
        "cases": rows,
    }
    study.mark_done(found=found)
    render(described(study, errors), study.path / "cases")
    pages.write(study.path / "page.html", TITLE, lead(study), sections(study), RESUME_HINT)


def sections(study: Study) -> list[Section]:
    """The sections of the page, from the study's folder. UserError if the folder is damaged."""
    errors = results.read(study)
    cases = chart(_panel(study, errors), "beside")
    return [
        Section(
            _title(study),
            [*status(study), answer(study), VERDICT, COMPARISON],
            charts=[(cases, "Test error of each case")],
            tables=[table(study, errors)],
            measured=study.commands,
            quoted=(f"{PAPER}, {SOURCES[table_of(study)]}: medians of five runs",),
        ),
        trained(study, errors),
    ]


def described(study: Study, errors: Mapping[str, Result]) -> Figure:
    """The picture: each case, measured and published."""
    note = (
        f"measured: reslab, {study.info.get('data', '')}\n"
        f"published: ResNet-{compared_depth(study)}, CIFAR-10, 64,000 iterations "
        f"({PAPER}, {SOURCES[table_of(study)]})"
    )
    size = 7.6, 1.9 + 0.34 * len(variants(study))
    return Figure(_title(study), note, [[_panel(study, errors)]], size=size, margin=(0.0, 0.0))


def _panel(study: Study, errors: Mapping[str, Result]) -> Panel:
    cases = variants(study)
    return figures.cases(
        [each.label for each in cases],
        [errors[e.name].spread("test_error") if e.name in errors else None for e in cases],
        [published(study, each) for each in cases],
    )


def table(study: Study, errors: Mapping[str, Result]) -> Table:
    """Each case as it was measured, beside the published error."""
    several, against = most_seeds(errors) > 1, differences(errors)
    names = HEADS[table_of(study)]
    rows = []
    for variant in variants(study):
        result, paper = errors.get(variant.name), published(study, variant)
        test = result.spread("test_error") if result else None
        rows.append(
            (
                *variant.cells,
                error_text(result.spread("train_error"), result.failed) if result else NONE,
                error_text(test, result.failed) if result else NONE,
                _difference(against.get(variant.name)),
                *([f"{100 * median(test.values):.2f} %" if test else NONE] if several else []),
                f"{paper:.2f} %" if isinstance(paper, float) else paper,
            )
        )
    middle = ("median test error",) if several else ()
    last = f"paper, ResNet-{compared_depth(study)}"
    head = (*names, "training error", "test error", "minus original", *middle, last)
    return Table("Errors at the end", head, rows, names=len(names))


def _difference(difference: ErrorDifference | None) -> str:
    """`1.58 (0.10 to 3.06)`, in percentage points."""
    if difference is None:
        return NONE
    mean, low, high = (100 * v for v in (difference.mean, difference.low, difference.high))
    return f"{mean:+.2f} ({low:+.2f} to {high:+.2f})"


def lines(study: Study) -> list[str]:
    """The table and the verdicts, for a terminal."""
    return [*printed(table(study, results.read(study))), answer(study)]


def _title(study: Study) -> str:
    return f"{TITLES[table_of(study)]}: ResNet-{study.settings.get('depth')}"
