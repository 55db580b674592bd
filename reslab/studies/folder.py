"""The folder of a study: what was asked, what was measured, its pictures, and its page.

    study.json      the kind of study, what was asked, command, versions, commit, machine, status
    ...             what was measured (JSON or HDF5), as its kind has it
    *.png, *.svg    pictures
    page.html       the same to look at, interactive, in one file

The same command again goes on with a study that was interrupted, and repeats nothing.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from reslab.core import environment as place
from reslab.core.errors import UserError
from reslab.core.files import STUDY_FILE, write_json, writing

FORMAT = 1
AGAIN = "the same command goes on with what was measured"


class Study:
    """A study on disk. `info` is study.json; `asked` what identifies it, as JSON."""

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path, self.info = path, info

    @classmethod
    def begin(cls, path: str | Path, kind: str, asked: Mapping[str, Any], backend: str) -> Study:
        """A new study at `path`, or the one there, to go on with.

        Raises UserError where there is something else, or a study that was asked otherwise.
        """
        path, asked = Path(path), json.loads(json.dumps(asked))
        if (path / STUDY_FILE).exists():
            study = cls.open(path)
            if study.kind != kind:
                raise UserError(f"{path} is a study of {study.kind}: choose another --out")
            if differ := sorted(k for k in asked if asked[k] != study.asked.get(k)):
                was = ", ".join(_differs(k, study.asked.get(k), asked[k]) for k in differ)
                raise UserError(f"{path} was begun with {was}: choose another --out")
            _hold(path)
            again = [*study.info.get("commands", []), *filter(None, [command()])]
            study.save(status="running", commands=list(dict.fromkeys(again)))
            return study
        with writing(path, "choose another --out"):
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise UserError(f"{path} exists already, and is no study: choose another --out")
            path.mkdir(parents=True, exist_ok=True)
        _hold(path)
        info = {
            "format": FORMAT,
            "kind": kind,
            "asked": asked,
            "command": command(),
            "backend": backend,
            "versions": place.versions(),
            "commit": place.commit(),
            "machine": place.machine(backend),
            "started": _now(),
            "finished": None,
            "status": "running",
        }
        study = cls(path, info)
        study.save()
        return study

    @classmethod
    def open(cls, path: str | Path) -> Study:
        """The study in a folder; raises UserError if there is none."""
        file = Path(path) / STUDY_FILE
        try:
            info = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path} is no study: there is no {file}") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{file} cannot be read: {error}") from None
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            raise UserError(f"{file} was not written by this version of reslab")
        for name, kind in {"kind": str, "asked": dict, "status": str}.items():
            if not isinstance(info.get(name), kind):
                raise UserError(f"{file} is damaged: {name!r} is no {kind.__name__}")
        return cls(Path(path), info)

    @property
    def kind(self) -> str:
        return str(self.info["kind"])

    @property
    def asked(self) -> dict[str, Any]:
        return dict(self.info["asked"])

    @property
    def commands(self) -> tuple[str, ...]:
        """The command lines that measured it, each once; a word where it was called in Python."""
        every = [self.info.get("command"), *self.info.get("commands", [])]
        found = tuple(dict.fromkeys(str(each) for each in every if each))
        return found or (f"reslab.studies in Python, as {self.name}/study.json has it",)

    @property
    def name(self) -> str:
        return self.path.name

    def save(self, **changes: Any) -> None:
        """Write study.json with these entries changed."""
        self.info.update(changes)
        write_json(self.path / STUDY_FILE, self.info, AGAIN)

    def done(self, **changes: Any) -> None:
        """All is measured; where it was so already, and is shown anew, the time is that of then."""
        self.save(**changes, status="done", finished=self.info["finished"] or _now())
        self.free()

    def free(self) -> None:
        """Let other processes have the folder, which `begin` keeps from them."""
        folder = _HELD.pop(_place(self.path), None)
        if folder is not None:
            os.close(folder)

    def read(self, name: str) -> Any:
        """What a JSON file of the study holds; None before there is one. UserError if damaged."""
        file = self.path / name
        try:
            return json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise UserError(
                f"{file} is damaged: {error}; delete it, and measure it again"
            ) from None

    def write(self, name: str, data: Any) -> None:
        write_json(self.path / name, data, AGAIN)


# Two processes would write their points into one another's lines ---------------------------------

_HELD: dict[tuple[int, int], int] = {}  # the folders that this process has, and how they are open


def _hold(path: Path) -> None:
    """Let no other process begin a study here until this one ends, or frees it.

    Raises UserError where another has it. Where the system has no such locks nothing happens.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return
    if _place(path) in _HELD:
        return
    folder = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise UserError(
            f"another process is at work on {path}: wait for it, or choose another --out"
        ) from None
    except OSError:  # a file system without locks
        os.close(folder)
        return
    _HELD[_place(path)] = folder


def _place(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _differs(name: str, was: Any, now: Any) -> str:
    if name == "runs":  # each is a name and digests
        return "other runs, or with these at another moment of their training"
    return f"{name} {was!r}, not {now!r}"


def command() -> str | None:
    """The command line that began this, where there was one."""
    program = Path(sys.argv[0])
    if program.stem == "reslab" or program.parts[-2:] == ("reslab", "__main__.py"):
        return shlex.join(["reslab", *sys.argv[1:]])
    return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
