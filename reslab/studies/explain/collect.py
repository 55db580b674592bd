"""Find the runs and studies for a page."""

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

FOLDERS = "runs", "studies"  # where `reslab train` and the studies write by default
DEEPEST = 4


@dataclass(frozen=True)
class Collection:
    """Runs by name, studies by kind, and in `unread` the reasons for what is left out."""

    runs: tuple[Run, ...]
    studies: dict[str, tuple[Study, ...]]
    unread: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[Study, ...]:
        return self.studies.get(kind, ())


def collect(paths: Iterable[str | Path] = ()) -> Collection:
    """Find the finished runs and studies at `paths` and in their subfolders.

    The default is `FOLDERS`. Runs inside a study are not listed on their own. A damaged or
    unfinished run or study is left out, and `unread` says why. UserError if a path does not exist.
    """
    given = [Path(path) for path in paths]
    for path in given:
        if not path.exists():
            raise UserError(f"{path} does not exist: name runs, studies, or folders of them")
    roots = given or [Path(name) for name in FOLDERS if Path(name).is_dir()]
    runs: dict[Path, Run] = {}
    studies: dict[Path, Study] = {}
    unread = []
    for folder in (folder for root in roots for folder in _folders(root)):
        try:
            if (folder / STUDY_FILE).exists():
                studies[folder.resolve()] = _study(folder)
            else:
                runs[folder.resolve()] = _run(folder)
        except UserError as error:
            unread.append(str(error))
    return Collection(
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
    """Read a run completely, so that a damaged one cannot break the page."""
    run = Run.open(folder)
    _finished(folder, run.info["status"])
    page_context([run])
    return run


def _finished(folder: Path, status: str) -> None:
    if status != "done":
        raise UserError(f"{folder} is not finished: its status is {status!r}")


def _folders(root: Path, depth: int = 0) -> Iterator[Path]:
    """The folders of runs and studies in `root`, or `root` itself; not those inside a study."""
    if (root / STUDY_FILE).exists() or (root / RUN_FILE).exists():
        yield root
    elif root.is_dir() and depth < DEEPEST:
        for inner in sorted(root.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _folders(inner, depth + 1)
