"""The folder of a study: its settings, measurements, pictures and page.

    study.json      kind, settings ("asked"), commands, versions, commit, machine, status, summary
    ...             measurements (JSON or HDF5), in files that depend on the kind of study
    *.png, *.svg    pictures
    page.html       an interactive page in one file

Running the same command again continues an interrupted study and repeats no measurement.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from reslab.core import environment, locks, records
from reslab.core.errors import UserError
from reslab.core.files import STUDY_FILE, write_json, writing
from reslab.runs.records import Moment, Plain

FORMAT = 1
RESUME_HINT = "run the same command again to continue from what was measured"


def default_path(*parts: str) -> Path:
    """Return the folder in which a study is written by default: studies/PART-PART-..."""
    return Path("studies") / "-".join(parts)


class StudyInfo(TypedDict):
    """What study.json holds for every kind of study."""

    kind: str
    asked: dict[str, Any]
    status: str
    backend: NotRequired[str | None]
    command: NotRequired[str | None]
    commands: NotRequired[list[str]]
    commit: NotRequired[str | None]
    started: NotRequired[Moment | None]
    finished: NotRequired[Moment | None]
    machine: NotRequired[dict[str, Plain]]
    versions: NotRequired[dict[str, str | None]]


class Study:
    """A study on disk. `info` is the content of study.json."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path, self.info = path, info

    @classmethod
    def begin(cls, path: str | Path, kind: str, settings: Mapping[str, Any], backend: str) -> Study:
        """Create a study at `path`, or open the one that is there to continue it.

        Raises UserError if `path` holds something else, or a study with other settings.
        """
        path, settings = Path(path), json.loads(json.dumps(settings))
        if (path / STUDY_FILE).exists():
            return cls._continue(path, kind, settings)
        with writing(path, "choose another --out"):
            if path.exists() and (not path.is_dir() or not locks.is_empty(path)):
                raise UserError(f"{path} already exists and is not a study: choose another --out")
            path.mkdir(parents=True, exist_ok=True)
        _lock(path)
        info = {
            "format": FORMAT,
            "kind": kind,
            "asked": settings,
            "command": command(),
            "backend": backend,
            "versions": environment.versions(),
            "commit": environment.commit(),
            "machine": environment.machine(backend),
            "started": _now(),
            "finished": None,
            "status": "running",
        }
        study = cls(path, info)
        study.save()
        return study

    @classmethod
    def _continue(cls, path: Path, kind: str, settings: Mapping[str, Any]) -> Study:
        study = cls.open(path)
        old = study.settings
        if study.kind != kind:
            raise UserError(f"{path} is a study of {study.kind}: choose another --out")
        if differing := sorted(key for key in settings if settings[key] != old.get(key)):
            changes = ", ".join(_difference(k, old.get(k), settings[k]) for k in differing)
            raise UserError(f"{path} was started with {changes}: choose another --out")
        _lock(path)
        commands = [*study.info.get("commands", []), *filter(None, [command()])]
        study.save(status="running", commands=list(dict.fromkeys(commands)))
        return study

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """Open the study in a folder. Raises UserError if there is none."""
        return cls(
            Path(path), records.read_record(Path(path) / STUDY_FILE, "study", FORMAT, StudyInfo)
        )

    @property
    def kind(self) -> str:
        return str(self.info["kind"])

    @property
    def settings(self) -> dict[str, Any]:
        """What identifies the study: networks or runs, data, sizes, seeds, backend."""
        return dict(self.info["asked"])

    @property
    def commands(self) -> tuple[str, ...]:
        """The command lines that measured the study, each once; a note if Python called it."""
        lines = [self.info.get("command"), *self.info.get("commands", [])]
        commands = tuple(dict.fromkeys(str(line) for line in lines if line))
        return commands or (f"called from Python, with the settings in {self.name}/study.json",)

    @property
    def name(self) -> str:
        return self.path.name

    def save(self, **changes: Any) -> None:
        """Write study.json with these entries changed."""
        self.info.update(changes)
        write_json(self.path / STUDY_FILE, self.info, RESUME_HINT)

    def mark_done(self, **changes: Any) -> None:
        """Mark the study as done and release its folder. The first time of finishing is kept."""
        self.save(**changes, status="done", finished=self.info["finished"] or _now())
        self.unlock()

    def unlock(self) -> None:
        """Release the lock on the folder that `begin` took."""
        locks.unlock(self.path)

    def read(self, name: str, record: Any = Any) -> Any:
        """Return the content of a JSON file of the study, or None if there is no such file.

        Raises UserError if the file is damaged, or does not agree with the type `record`.
        """
        try:
            return records.read_json(self.path / name, record, "delete it and measure again")
        except FileNotFoundError:
            return None

    def write(self, name: str, data: Any) -> None:
        write_json(self.path / name, data, RESUME_HINT)


def _lock(path: Path) -> None:
    """Lock the folder until the process ends or `Study.unlock` is called."""
    if not locks.lock(path):
        raise UserError(
            f"another process is writing to {path}: wait for it, or choose another --out"
        )


def _difference(name: str, old: Any, new: Any) -> str:
    if name == "runs":  # each is a name with checksums
        return "other runs, or with these runs at another stage of their training"
    return f"{name} {old!r}, not {new!r}"


def command() -> str | None:
    """The command line of this process, or None if it is not a reslab command."""
    program = Path(sys.argv[0])
    if program.stem == "reslab" or program.parts[-2:] == ("reslab", "__main__.py"):
        return shlex.join(["reslab", *sys.argv[1:]])
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
