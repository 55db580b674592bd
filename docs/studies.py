"""The studies of docs/results: how they get there, and what README shows of them."""

from __future__ import annotations

import shutil
from pathlib import Path

from benchmarks import table

from reslab.analysis import degradation
from reslab.analysis.study import Study
from reslab.analysis.sweep import measured

RESULTS = Path(__file__).parent / "results"
KEPT = "study.json", "results.json", "*.png"


def enter(study: Study) -> None:
    """Keep what a finished study measured, and its pictures."""
    if study.info["status"] != "done":
        raise SystemExit(f"{study.path} is not finished: it has no place in the ledger")
    place = RESULTS / study.name
    place.mkdir(exist_ok=True)
    for pattern in KEPT:
        for file in study.path.glob(pattern):
            shutil.copyfile(file, place / file.name)


def degradations() -> str:
    """Each study of degradation: what it found, its table, its picture and its command."""
    parts = []
    for file in sorted(RESULTS.glob("*/study.json")):
        study = Study.open(file.parent)
        if study.kind != "degradation":
            continue
        results = measured.read(study)
        shown = degradation.table(study, results)
        where = file.parent.relative_to(RESULTS.parent.parent).as_posix()
        machine = study.info["machine"]
        cores = f"{machine['cores']} core{'s' * (machine['cores'] > 1)}"
        parts += [
            f"`{study.info['command']}`, on {cores} of {machine['cpu']}:",
            "",
            f"![Error by iteration of plain and residual nets]({where}/errors.png)",
            "",
            table(list(shown.head), [list(row) for row in shown.rows]),
            "",
            degradation.answer(results).said,
        ]
    return "\n".join(parts)
