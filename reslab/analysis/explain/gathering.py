"""The runs and studies that a page is made of, found in folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from reslab.analysis.kinds import SHOWING
from reslab.analysis.study import Study
from reslab.errors import UserError
from reslab.run import Run

FOLDERS = "runs", "studies"  # where `reslab train` and the studies put theirs
DEEPEST = 4


@dataclass(frozen=True)
class Gathered:
    """Runs in order of their names, studies by their kind; and folders that could not be read."""

    runs: tuple[Run, ...]
    studies: dict[str, tuple[Study, ...]]
    unread: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[Study, ...]:
        return self.studies.get(kind, ())


def gather(paths: Iterable[str | Path] = ()) -> Gathered:
    """The finished runs and studies at `paths` and in folders there; by default in `FOLDERS`.

    What a study trained stands in the study, not beside it. Raises UserError where a path is not
    there; a damaged run or study is left out, and `unread` says why.
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
            if (folder / "study.json").exists():
                studies[folder.resolve()] = Study.open(folder)
            else:
                runs[folder.resolve()] = Run.open(folder)
        except UserError as error:
            unread.append(str(error))
    done = [s for s in studies.values() if s.info["status"] == "done" and s.kind in SHOWING]
    return Gathered(
        tuple(run for run in runs.values() if run.info["status"] == "done"),
        {kind: tuple(s for s in done if s.kind == kind) for kind in SHOWING},
        tuple(unread),
    )


def _folders(root: Path, depth: int = 0) -> Iterator[Path]:
    """The folders of runs and studies in `root`, or itself; not those inside of one."""
    if (root / "study.json").exists() or (root / "run.json").exists():
        yield root
    elif root.is_dir() and depth < DEEPEST:
        for inner in sorted(root.iterdir()):
            if inner.is_dir() and not inner.name.startswith("."):
                yield from _folders(inner, depth + 1)
