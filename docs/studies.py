"""The studies in docs/results/: how they get there, and the page that shows them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks import table

from reslab.report.sections import Section, Table
from reslab.studies import registry
from reslab.studies.folder import Study
from reslab.studies.sweep import results as sweep_results

HERE = Path(__file__).parent
RESULTS = HERE / "results"
KEPT = "*.json", "*.jsonl", "*.png"  # measurements and pictures
HEAD = """# Studies

Results of `reslab degradation`, `ablate`, `signals`, `responses`, `lesions` and `landscape` on
Fashion-MNIST, on CPUs. Seeds, sizes and recipes were fixed in a commit before the trainings
started. Every such training is on this page, whatever its result. Short trials that only checked
that a command runs are not. The folders beside this page in the repository (`docs/results/`) hold
the data. `python docs/write.py` writes this page.
"""


def add_study(study: Study) -> None:
    """Copy the measurements and pictures of a finished study to docs/results/."""
    if study.info["status"] != "done":
        raise SystemExit(f"{study.path} is not finished: only finished studies are kept")
    folder = RESULTS / study.name
    folder.mkdir(exist_ok=True)
    for pattern in KEPT:
        for file in study.path.glob(pattern):
            shutil.copyfile(file, folder / file.name)


def kept_studies() -> list[Study]:
    return [Study.open(file.parent) for file in sorted(RESULTS.glob("*/study.json"))]


def deepest_pair() -> tuple[Study, tuple[str, str]]:
    """The degradation study with the most seeds and epochs, and the final training errors of its
    deepest nets: plain, residual."""
    candidates = [study for study in kept_studies() if study.kind == "degradation"]
    study = max(candidates, key=lambda each: (each.settings["seeds"], each.info["plan"]["epochs"]))
    results = sweep_results.read(study)
    depth = max(study.settings["depths"])
    errors = [results[f"{kind}{depth}"].spread("train_error") for kind in ("plain", "resnet")]
    plain, residual = (
        f"{100 * error.mean:.2f} ± {100 * error.sd:.2f} %" for error in errors if error
    )
    return study, (plain, residual)


def page() -> str:
    """All studies: the text of their own pages, with pictures in place of charts."""
    parts = [HEAD]
    for study in kept_studies():
        name = study.name.removeprefix(f"{study.kind}-")
        parts += [f"## {study.kind.capitalize()}: {name}", "", *_commands(study)]
        for file in sorted(study.path.glob("*.png")):
            parts += [_picture(study, file.stem), ""]
        for section in registry.sections(study):
            parts += _section(section, "###")
    return "\n".join(parts)


def _section(section: Section, heading: str) -> Iterator[str]:
    yield from (f"{heading} {section.title}", "")
    for paragraph in section.paragraphs:
        yield from (paragraph, "")
    for shown in section.tables:
        yield from _table(shown)
    if section.quoted:
        yield from (f"Quoted: {'; '.join(section.quoted).rstrip('.')}.", "")
    for inner in section.sections:
        yield from _section(inner, heading + "#")


def _table(shown: Table) -> Iterator[str]:
    text = table(list(shown.head), [list(row) for row in shown.rows])
    if shown.folded:  # readable on the site (md_in_html) and in a viewer of Markdown
        summary = f"<summary>{shown.caption}</summary>"
        yield from ('<details markdown="1">', summary, "", text, "", "</details>", "")
    else:
        yield from (f"**{shown.caption}**", "", text, "")


def _commands(study: Study) -> list[str]:
    machine = study.info["machine"]
    cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)}"
    commands = ", then ".join(f"`{command}`" for command in study.commands)
    return [f"{commands}, on {cores} of {machine['cpu']}:", ""]


def _picture(study: Study, stem: str) -> str:
    return f"![{stem.replace('-', ' ')}]({study.name}/{stem}.png)"
