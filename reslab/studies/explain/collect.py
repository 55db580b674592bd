"""The runs and studies that a page is made of, found in folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reslab.core.errors import UserError, unknown
from reslab.core.files import RUN_FILE, STUDY_FILE
from reslab.report.context import page_context
from reslab.runs.run import Run
from reslab.studies.folder import Study
from reslab.studies.registry import PAGES

FOLDERS = "runs", "studies"  # where `reslab train` and the studies put theirs
DEEPEST = 4


@dataclass(frozen=True)
class Gathered:
    """Runs in order of their names, studies by their kind; `unread` says what is left out, why."""

    runs: tuple[Run, ...]
    studies: dict[str, tuple[Study, ...]]
    unread: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[Study, ...]:
        return self.studies.get(kind, ())


def gather(paths: Iterable[str | Path] = ()) -> Gathered:
    """The finished runs and studies at `paths` and in folders there; by default in `FOLDERS`.

    What a study trained stands in the study, not beside it. Raises UserError where a path is not
    there; a run or study that is damaged, or not finished, is left out, and `unread` says why.
    """
    given = [Path(path) for path in paths]
    for path in given:
        if not path.exists():
            raise UserError(f"{path} is not there: name runs, studies, or folders of them")
    roots = given or [Path(name) for name in FOLDERS if Path(name).is_dir()]
    runs: dict[Path, Run] = {}
    studies: dict[Path, Study] = {}
    unread = []
    for folder in (found for root in roots for found in _folders(root)):
        try:
            if (folder / STUDY_FILE).exists():
                studies[folder.resolve()] = _study(folder)
            else:
                runs[folder.resolve()] = _run(folder)
        except UserError as error:
            unread.append(str(error))
    return Gathered(
        tuple(runs.values()),
        {kind: tuple(s for s in studies.values() if s.kind == kind) for kind in PAGES},
        tuple(unread),
    )


def _study(folder: Path) -> Study:
    study = Study.open(folder)
    if study.kind not in PAGES:
        raise unknown("kind of study", study.kind, PAGES)
    _finished(folder, study.info["status"])
    return study


def _run(folder: Path) -> Run:
    """A run that can be shown: it is read whole, for one that is not would cost all the page."""
    run = Run.open(folder)
    _finished(folder, run.info["status"])
    page_context([run])
    return run


def _finished(folder: Path, status: str) -> None:
    if status != "done":
        raise UserError(f"{folder} is not finished: its status is {status!r}")


def _folders(root: Path, depth: int = 0) -> Iterator[Path]:
    """The folders of runs and studies in `root`, or itself; not those inside of one."""
    if (root / STUDY_FILE).exists() or (root / RUN_FILE).exists():
        yield root
    elif root.is_dir() and depth < DEEPEST:
        for inner in sorted(root.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _folders(inner, depth + 1)
