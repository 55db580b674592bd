"""What a study of degradation shows: sections of a page, pictures, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from reslab.plots.figure import Figure
from reslab.plots.figure_matplotlib import render
from reslab.plots.figure_plotly import chart
from reslab.plots.format import NONE, count
from reslab.report import sections as pages
from reslab.report.sections import Section, Table
from reslab.studies.degradation.results import KINDS, answer, depths
from reslab.studies.folder import RESUME_HINT, Study
from reslab.studies.sweep import figures, results
from reslab.studies.sweep.figures import ByDepth, ErrorCurves
from reslab.studies.sweep.page import lead, printed, status, trained
from reslab.studies.sweep.results import Result, error_text

TITLE = "Degradation: plain and residual networks of the same depth"
LABELS = {"plain": "plain", "resnet": "ResNet"}
HOW_TO_READ = (
    "Thin and dashed: training error. Bold: test error. If the deeper plain net overfitted, its "
    "training error would be lower than that of the shallow one. Shaded: one standard deviation "
    "over the seeds, if there are several."
)
VERDICT = (
    "A change is decided if its 95 % interval excludes zero. With several seeds it reaches as far "
    "as the wider one of Welch's t-interval over the seeds and Newcombe's interval over the "
    "images. With one seed it is the latter: another seed may give another result."
)
PAPER = (
    "He et al. 2015, arXiv 1512.03385, Table 6, CIFAR-10 after 64,000 iterations; the errors of "
    "the plain nets are only in its Fig. 6 (plain-110: above 60 %)"
)
TABLE_6 = {20: "8.75 %", 32: "7.51 %", 44: "7.17 %", 56: "6.97 %", 110: "6.43 %"}


def publish(study: Study) -> None:
    """Write the answer, the pictures and the page of what was measured."""
    errors = results.read(study)
    rows = [results.summary(result) for result in errors.values()]
    study.mark_done(found={"answer": answer(errors).as_json(), "nets": rows})
    for stem, figure in described(study, errors).items():
        render(figure, study.path / stem)
    pages.write(study.path / "page.html", TITLE, lead(study), sections(study), RESUME_HINT)


def sections(study: Study) -> list[Section]:
    """The sections of the page, from the study's folder. UserError if the folder is damaged."""
    errors = results.read(study)
    kinds = _curves(errors)
    top = figures.highest_error([each for drawn in kinds.values() for each in drawn])
    by_iteration = [
        (chart(figures.errors(title, drawn, top), f"errors-{i}"), title)
        for i, (title, drawn) in enumerate(kinds.items())
        if drawn
    ]
    by_depth = chart(figures.by_depth(_by_depth(errors)), "depth")
    return [
        Section(
            "Error by iteration",
            [*status(study), answer(errors).sentence, VERDICT, HOW_TO_READ],
            charts=by_iteration,
            measured=study.commands,
        ),
        Section(
            "Error against depth",
            ["A plain net and its residual twin have the same layers and the same parameters."],
            charts=[(by_depth, "Error at the end by depth")] if len(depths(errors)) > 1 else [],
            tables=[table(study, errors)],
            measured=study.commands,
            quoted=(PAPER,) if _published(study, errors) else (),
        ),
        trained(study, errors),
    ]


def described(study: Study, errors: Mapping[str, Result]) -> dict[str, Figure]:
    """The pictures by the stems of their files."""
    note = f"reslab, {study.info.get('data', '')}; dashed: training, bold: test"
    kinds = _curves(errors)
    top = figures.highest_error([each for drawn in kinds.values() for each in drawn])
    row = [figures.errors(title, drawn, top) for title, drawn in kinds.items()]
    title = "Plain and residual nets: error by iteration"
    pictures = {"errors": Figure(title, note, [row], size=(4.4, 4.3), margin=(1.2, 0.0))}
    if len(depths(errors)) > 1:
        title = "Plain and residual nets: error against depth"
        panel = figures.by_depth(_by_depth(errors))
        pictures["depth"] = Figure(title, note, [[panel]], size=(5.6, 4.3), margin=(0.0, 0.0))
    return pictures


def table(study: Study, errors: Mapping[str, Result]) -> Table:
    """The errors of each network, beside those of the paper for the same data."""
    published = _published(study, errors)
    rows = [
        (
            name,
            count(result.rows[0]["params"]),
            error_text(result.spread("train_error"), result.failed),
            error_text(result.spread("test_error"), result.failed),
            str(len(result.rows)),
            *([published.get(name, NONE)] if published else []),
        )
        for name, result in errors.items()
    ]
    head = ["net", "parameters", "training error", "test error", "seeds"]
    head += ["paper, CIFAR-10 test"] if published else []
    return Table("Errors at the end, mean and standard deviation", head, rows)


def lines(study: Study) -> list[str]:
    """The table and the answer, for a terminal."""
    errors = results.read(study)
    return [*printed(table(study, errors)), answer(errors).sentence]


def _published(study: Study, errors: Mapping[str, Result]) -> dict[str, str]:
    """The paper's errors of these networks, if the study used the paper's data."""
    if not str(study.info.get("data", "")).startswith("cifar10,"):
        return {}
    return {f"resnet{d}": error for d, error in TABLE_6.items() if f"resnet{d}" in errors}


def _curves(errors: Mapping[str, Result]) -> dict[str, list[ErrorCurves]]:
    """By the title of their panel."""
    return {
        f"{name} nets": figures.curves(
            errors, {f"{kind}{d}": f"{LABELS[kind]}-{d}" for d in depths(errors)}
        )
        for kind, name in KINDS.items()
    }


def _by_depth(errors: Mapping[str, Result]) -> list[ByDepth]:
    lines: list[ByDepth] = []
    for kind, colour in (("plain", 1), ("resnet", 0)):
        for metric, test in (("train_error", False), ("test_error", True)):
            points = [
                (d, spread)
                for d in depths(errors)
                if (result := errors.get(f"{kind}{d}")) and (spread := result.spread(metric))
            ]
            name = f"{KINDS[kind]}, {'test' if test else 'training'}"
            lines.append(ByDepth(name, colour, test, points))
    return lines
