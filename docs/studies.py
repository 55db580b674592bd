"""The studies of docs/results: how they get there, and what README and docs/studies.md show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks import table

from reslab.report.sections import Section, Table
from reslab.studies import degradation, registry
from reslab.studies.folder import Study
from reslab.studies.signals import page, panels
from reslab.studies.sweep import results as measured

HERE = Path(__file__).parent
RESULTS = HERE / "results"
KEPT = "*.json", "*.jsonl", "*.png"  # what was measured, and the pictures
HEAD = """# Studies

What `reslab degradation`, `ablate`, `signals`, `responses`, `lesions` and `landscape` found on
Fashion-MNIST, on two CPU cores. Seeds, sizes and recipes of trainings were fixed in a commit before
they were run, and none of those is left out, whatever it showed; not here are short trials that
were to show that a command runs. Folders of the same names in [`results/`](results) have the data.
`python docs/write.py` writes this file.
"""


def enter(study: Study) -> None:
    """Keep what a finished study measured, and its pictures."""
    if study.info["status"] != "done":
        raise SystemExit(f"{study.path} is not finished: it has no place in the ledger")
    place = RESULTS / study.name
    place.mkdir(exist_ok=True)
    for pattern in KEPT:
        for file in study.path.glob(pattern):
            shutil.copyfile(file, place / file.name)


def kept() -> list[Study]:
    return [Study.open(file.parent) for file in sorted(RESULTS.glob("*/study.json"))]


# In README ----------------------------------------------------------------------------------------


def degradations() -> str:
    """The longest study of degradation with the most seeds: picture, table, what it found."""
    found = [study for study in kept() if study.kind == "degradation"]
    if not found:
        return ""
    study = max(found, key=lambda each: (each.asked["seeds"], each.info["plan"]["epochs"]))
    results = measured.read(study)
    return "\n".join(
        [
            *_made(study),
            _picture(study, "errors", "Error by iteration of plain and residual nets", "docs/"),
            "",
            _table(degradation.table(study, results)),
            "",
            degradation.answer(results).said,
        ]
    )


def signals() -> str:
    """Gradients in training: the picture, and how the plain net's went."""
    parts = []
    for study in kept():
        if study.kind == "signals" and study.asked.get("steps"):
            told = page.course(panels.read(study))
            parts += [
                *_made(study),
                _picture(study, "gradients-in-training", "Gradient norms by layer", "docs/"),
                "",
                *told,
            ]
    return "\n".join(parts) or "Not measured yet."


def landscapes() -> str:
    """The deepest nets with skips and without: the picture, and how far their valleys reach."""
    parts = []
    for study in kept():
        if study.kind == "landscape" and "resnet56" in study.name and "plain56" in study.name:
            (shown,) = registry.sections(study)[0].tables
            parts += [
                *_made(study),
                _picture(study, "surface", "Loss surfaces", "docs/"),
                "",
                f"{shown.caption}:",
                "",
                _table(shown),
            ]
    return "\n".join(parts) or "Not measured yet."


# In docs/studies.md -------------------------------------------------------------------------------


def everything() -> str:
    """All of them, as their own pages show them, with pictures in place of charts."""
    parts = [HEAD]
    for study in kept():
        sections = registry.sections(study)
        about = study.name.removeprefix(f"{study.kind}-")
        parts += [f"## {study.kind.capitalize()}: {about}", "", *_made(study)]
        for file in sorted(study.path.glob("*.png")):
            parts += [_picture(study, file.stem, file.stem.replace("-", " ")), ""]
        for section in sections:
            parts += _section(section, "##")
    return "\n".join(parts)


def _section(section: Section, level: str) -> Iterator[str]:
    yield from (f"{level}# {section.title}", "")
    for paragraph in section.words:
        yield from (paragraph, "")
    for each in section.tables:
        told = ["**" + each.caption + "**", "", _table(each), ""]
        if each.folded:
            told = [
                "<details>",
                f"<summary>{each.caption}</summary>",
                "",
                *told[2:],
                "</details>",
                "",
            ]
        yield from told
    if section.quoted:
        yield from (f"Quoted: {'; '.join(section.quoted).rstrip('.')}.", "")
    for inner in section.sections:
        yield from _section(inner, level + "#")


def _made(study: Study) -> list[str]:
    machine = study.info["machine"]
    cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)}"
    by = ", then ".join(f"`{command}`" for command in study.commands)
    return [f"{by}, on {cores} of {machine['cpu']}:", ""]


def _picture(study: Study, name: str, words: str, before: str = "") -> str:
    return f"![{words}]({before}{RESULTS.name}/{study.name}/{name}.png)"


def _table(shown: Table) -> str:
    return table(list(shown.head), [list(row) for row in shown.rows])
